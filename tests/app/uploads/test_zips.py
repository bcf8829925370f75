"""Zips that were tampered with."""

from __future__ import annotations

import struct
import zipfile
from contextlib import suppress
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import MalformedBody, Overloaded
from app.uploads.zips import check_directories, extract_images
from tests.support.batch_requests import zipped
from tests.support.raw_zips import directory_entry, end_record, raw_zip


@given(st.data())
@settings(max_examples=150)
def test_corrupted_zip_is_extracted_within_limits_or_rejected(data: st.DataObject) -> None:
    archive = bytearray(zipped(**{"a/one.png": b"one" * 50, "two.png": b"two"}))
    for _ in range(data.draw(st.integers(1, 6))):
        offset = data.draw(st.integers(0, len(archive) - 1))
        archive[offset] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, 20))
    with suppress(MalformedBody):
        damaged = bytes(archive[: len(archive) - cut])
        check_directories([damaged], 3)
        images = list(extract_images(damaged, 3, 1000, 1500, lambda _: None))
        assert len(images) <= 4
        assert all(len(content) <= 1001 for _, content in images if isinstance(content, bytes))


def test_directory_that_names_one_file_many_times_is_rejected() -> None:
    """64 entries that share their data would be unpacked 64 times."""
    archive = zipped(**{"one.png": bytes(range(256)) * 40})
    start = archive.index(b"PK\x01\x02")
    entry = archive[start : archive.index(b"PK\x05\x06")]
    overlapping = archive[:start] + entry * 64 + end_record(64, 64 * len(entry), start)
    check_directories([overlapping], 64)
    with pytest.raises(MalformedBody, match="overlap"):
        list(extract_images(overlapping, 64, 100_000, 1_000_000, lambda _: None))


def test_packed_data_that_unpacks_to_nothing_is_an_error_of_its_file() -> None:
    """Empty blocks of deflate pass all limits on unpacked bytes, but take time."""
    empty_blocks = b"\0\0\0\xff\xff" * 100_000 + b"\1\0\0\xff\xff"
    name = b"one.png"
    sizes = (len(empty_blocks), 0)
    local = struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, 8, 0, 0x21, 0, *sizes, len(name), 0) + name
    entry = (
        struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 8, 0, 0x21, 0, *sizes, len(name), 0, 0, 0, 0, 0, 0) + name
    )
    archive = local + empty_blocks + entry + end_record(1, len(entry), len(local) + len(empty_blocks))
    ((_, content),) = extract_images(archive, 3, 1000, 1500, lambda _: None)
    assert isinstance(content, MalformedBody)


def extracted(archive: bytes, max_images: int = 9, max_bytes: int = 99, max_total_bytes: int = 999) -> list[bytes]:
    contents = [content for _, content in extract_images(archive, max_images, max_bytes, max_total_bytes, int)]
    assert all(isinstance(content, bytes) for content in contents)
    return [content for content in contents if isinstance(content, bytes)]


def test_extraction_stops_one_file_or_one_byte_beyond_a_limit() -> None:
    archive = zipped(a=b"a" * 10, b=b"b" * 10, c=b"c" * 10)
    assert extracted(archive) == [b"a" * 10, b"b" * 10, b"c" * 10]
    assert len(extracted(archive, max_images=3)) == 3
    assert len(extracted(archive, max_images=1)) == 2
    assert [len(content) for content in extracted(archive, max_bytes=10)] == [10, 10, 10]
    assert [len(content) for content in extracted(archive, max_bytes=8)] == [9, 9, 9]
    assert [len(content) for content in extracted(archive, max_total_bytes=30)] == [10, 10, 10]
    assert [len(content) for content in extracted(archive, max_total_bytes=29)] == [10, 10, 10]
    assert [len(content) for content in extracted(archive, max_total_bytes=19)] == [10, 10]
    assert [len(content) for content in extracted(archive, max_total_bytes=15)] == [10, 6]


def test_every_extracted_byte_is_counted_and_a_full_budget_ends_the_extraction() -> None:
    counted = list[int]()
    archive = zipped(a=bytes(200_000), b=b"b" * 10)
    list(extract_images(archive, 9, 10**6, 10**6, counted.append))
    assert sum(counted) == 200_010
    assert max(counted) == 64 * 1024

    def reject(_: int) -> None:
        raise Overloaded("full", 1)

    with pytest.raises(Overloaded):
        list(extract_images(archive, 9, 10**6, 10**6, reject))


def test_directories_may_reach_their_limits_of_entries_and_of_bytes() -> None:
    def entries(count: int, size: int) -> list[bytes]:
        """Return directory entries of so many bytes in total."""
        names = [b"%06d/" % number for number in range(count)]
        missing = size - sum(len(directory_entry(name)) for name in names)
        share, rest = divmod(missing, count)
        return [directory_entry(b"a" * (share + (i < rest)) + name) for i, name in enumerate(names)]

    def is_allowed(*zips: bytes, max_images: int = 64) -> bool:
        try:
            check_directories(zips, max_images)
        except MalformedBody:
            return False
        return True

    for max_images, max_entries in ((1, 2000), (500, 2000), (501, 2004), (1000, 4000)):
        assert is_allowed(raw_zip(entries(max_entries, 60 * max_entries)), max_images=max_images)
        assert not is_allowed(raw_zip(entries(max_entries + 1, 60 * max_entries + 60)), max_images=max_images)
    assert is_allowed(raw_zip(entries(1999, 300_000)))
    assert not is_allowed(raw_zip(entries(1999, 300_001)))
    half = raw_zip(entries(1000, 150_000))
    assert is_allowed(half, half)
    assert not is_allowed(half, half, zipped(a=b""))


@pytest.mark.parametrize(("method", "is_readable"), [(0, True), (8, True), (12, False), (14, False), (99, False)])
def test_only_stored_and_deflated_files_are_unpacked(method: int, is_readable: bool) -> None:
    archive = bytearray(zipped(a=b"") if method else stored_zip())
    start = archive.index(b"PK\x01\x02")
    archive[start + 10 : start + 12] = struct.pack("<H", method)
    archive[8:10] = struct.pack("<H", method)
    ((_, content),) = extract_images(bytes(archive), 9, 99, 99, int)
    assert isinstance(content, bytes) == is_readable


def stored_zip() -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a", b"")
    return buffer.getvalue()
