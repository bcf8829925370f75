"""Zips that were tampered with."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import MalformedBody
from app.uploads.zips import check_directories, extract_images
from tests.support.batch_requests import zipped
from tests.support.raw_zips import end_record


@given(st.data())
@settings(max_examples=150, deadline=None)
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
