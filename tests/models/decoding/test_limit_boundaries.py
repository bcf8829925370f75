"""Every limit on an image: what lies at the limit is accepted, one more is rejected. The figures are written out."""

from __future__ import annotations

import struct
from io import BytesIO

import numpy as np
import pytest
from PIL.JpegImagePlugin import MARKER

from models.decoding.errors import EmptyImage, ImageTooLarge, UndecodableImage
from models.decoding.image import decode, open_file
from models.decoding.limits import (
    DEFAULT_LIMITS,
    BoundedReader,
    Limits,
    check_decoding_work,
    check_size,
    check_structure,
)
from tests.support.images import chunk, encode, noise

SHORT, LONG, BYTE, RATIONAL, SIGNED_RATIONAL = 3, 4, 1, 5, 10


def is_accepted(data: bytes, kind: str) -> bool:
    """Return whether the structure is accepted; any other error than `too expensive` is a fault of the test."""
    try:
        check_structure(data, kind)
    except UndecodableImage as error:
        if "would take too long" not in str(error):
            raise
        return False
    return True


def work_is_accepted(data: bytes, kind: str) -> bool:
    with open_file(BytesIO(data), [kind]) as image:
        try:
            check_decoding_work(image, data)
        except UndecodableImage as error:
            if "would take too long" not in str(error):
                raise
            return False
    return True


# --- all formats


@pytest.mark.parametrize("size", [(8000, 8000), (30_000, 2133), (2133, 30_000), (30_000, 1), (1, 1)])
def test_size_at_a_limit_is_accepted(size: tuple[int, int]) -> None:
    check_size(size, DEFAULT_LIMITS)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((8000, 8001), r"8000 x 8001 = 64,008,000 pixels; the limit is 64,000,000"),
        ((64_000_001, 1), r"64,000,001 pixels; the limit is 64,000,000"),
        ((30_001, 1), r"30001 x 1; the limit for a side is 30,000 pixels"),
        ((1, 30_001), r"1 x 30001; the limit for a side is 30,000 pixels"),
    ],
)
def test_size_beyond_a_limit_is_rejected(size: tuple[int, int], message: str) -> None:
    with pytest.raises(ImageTooLarge, match=message):
        check_size(size, DEFAULT_LIMITS)


def test_image_of_the_maximum_number_of_bytes_is_decoded() -> None:
    assert DEFAULT_LIMITS.max_bytes == 20_000_000
    data = encode(noise(4, 4), "PNG")
    assert decode(data, Limits(max_bytes=len(data))).size == (4, 4)
    with pytest.raises(ImageTooLarge, match=f"has {len(data):,} bytes; the limit is {len(data) - 1:,} bytes"):
        decode(data, Limits(max_bytes=len(data) - 1))
    with pytest.raises(EmptyImage):
        decode(b"")


def test_reads_are_limited() -> None:
    reader = BoundedReader(bytes(10))
    for _ in range(200_000):
        reader.read(0)
    with pytest.raises(UndecodableImage, match="too many parts"):
        reader.read(0)


@pytest.mark.parametrize(("more", "is_turned"), [(0, True), (1, False)])
def test_orientation_is_read_from_metadata_of_up_to_256_kib(more: int, is_turned: bool) -> None:
    exif = b"II*\0" + struct.pack("<IHHHIII", 8, 1, 0x0112, SHORT, 1, 6, 0)
    exif = exif.ljust(256 * 1024 - len(b"Exif\0\0") + more, b"\0")
    data = encode(noise(2, 3), "PNG")
    image = decode(data[:33] + chunk(b"eXIf", exif) + data[33:])
    assert image.size == ((2, 3) if is_turned else (3, 2))


# --- JPEG

START, SCAN = b"\xff\xd8", b"\xff\xda"
COMMENT = b"\xff\xfe\0\x02"


def segment(marker: int, payload_bytes: int) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, payload_bytes + 2) + bytes(payload_bytes)


@pytest.mark.parametrize(
    ("part", "limit"),
    [
        (COMMENT, 49_999),  # and the scan
        (b"\xff\xe1\0\x08Exif\0\0", 16),
        (b"\xff\xed\0\x068BIM", 10_000),
    ],
    ids=["segments", "EXIF blocks", "Photoshop blocks"],
)
def test_parts_of_a_jpeg_are_limited(part: bytes, limit: int) -> None:
    assert is_accepted(START + part * limit + SCAN, "JPEG")
    assert not is_accepted(START + part * (limit + 1) + SCAN, "JPEG")


@pytest.mark.parametrize("markers", [(0xDB, 0xDB), (0xC4, 0xC4), (0xDB, 0xC4)])
def test_tables_of_a_jpeg_are_limited_to_64_kib(markers: tuple[int, int]) -> None:
    first, second = markers
    assert is_accepted(START + segment(first, 32_766) + segment(second, 32_766) + SCAN, "JPEG")
    assert not is_accepted(START + segment(first, 32_766) + segment(second, 32_767) + SCAN, "JPEG")
    assert is_accepted(START + segment(first, 32_766) + segment(0xFE, 32_767) + SCAN, "JPEG"), "a comment is no table"


HANDLERS = {code & 0xFF: handler for code, (_, _, handler) in MARKER.items()}
RESTARTS, SCAN_CODE = range(0xD0, 0xD8), 0xDA


@pytest.mark.parametrize("code", sorted(HANDLERS.keys() - {*RESTARTS, SCAN_CODE}))
def test_tables_after_a_marker_are_found_as_pillow_finds_them(code: int) -> None:
    """Pillow skips the length of a segment that it handles; after any other marker, it reads on at once."""
    tables = segment(0xDB, 60_000) * 2
    hides_tables = HANDLERS[code] is not None
    length = struct.pack(">H", 2 + len(tables) // 2)
    data = START + b"\xff" + bytes([code]) + length + tables + SCAN
    is_table = code in (0xDB, 0xC4)
    assert is_accepted(data, "JPEG") == (hides_tables and not is_table)


def progressive(scans: int, size: tuple[int, int] | None = None) -> bytes:
    """Return a progressive JPEG of this number of scans, some of them empty, that declares a size in pixels."""
    data = encode(noise(16, 16), "JPEG", progressive=True)
    second = data.index(SCAN, data.index(SCAN) + 2)
    end = second + 2 + int.from_bytes(data[second + 2 : second + 4])
    data = data[:second] + data[second:end] * (scans - data.count(SCAN)) + data[second:]
    assert data.count(SCAN) == scans
    frame = data.index(b"\xff\xc2") + 5
    return data if size is None else data[:frame] + struct.pack(">HH", *reversed(size)) + data[frame + 4 :]


@pytest.mark.parametrize(
    ("size", "scans"),
    [(None, 100), ((3000, 3000), 100), ((3000, 3001), 99), ((8000, 8000), 14), ((30_000, 2000), 15)],
)
def test_scans_of_a_jpeg_are_limited(size: tuple[int, int] | None, scans: int) -> None:
    """At most 100, and at most 900 million pixels in all of them."""
    assert work_is_accepted(progressive(scans, size), "JPEG")
    assert not work_is_accepted(progressive(scans + 1, size), "JPEG")


# --- TIFF

Entry = tuple[int, int, int, int]
"""Tag, type, number of values, and the value or its offset."""


def tiff(order: str, *entries: Entry) -> bytes:
    """Return a TIFF of one directory, without the values that do not fit into it."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(entries))
    return head + b"".join(struct.pack(f"{order}HHII", *entry) for entry in entries) + bytes(4)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("tag", "kind", "limit"),
    [
        (273, LONG, 50_000),
        (324, LONG, 50_000),
        (324, BYTE, 50_000),
        (700, LONG, 250_000),
        (700, SHORT, 250_000),
        (282, RATIONAL, 1000),
        (282, SIGNED_RATIONAL, 1000),
    ],
)
def test_values_of_a_tiff_are_limited(order: str, tag: int, kind: int, limit: int) -> None:
    assert is_accepted(tiff(order, (tag, kind, limit, 0)), "TIFF")
    assert not is_accepted(tiff(order, (tag, kind, limit + 1, 0)), "TIFF")
    assert not is_accepted(tiff(order, (256, LONG, 1, 9), (tag, kind, limit + 1, 0)), "TIFF"), "not the first entry"


@pytest.mark.parametrize("kind", [1, 2, 6, 7])
def test_bytes_of_a_tiff_are_not_limited(kind: int) -> None:
    assert is_accepted(tiff("<", (700, kind, 10_000_000, 0)), "TIFF")


def sides(width: int, height: int, tile_width: int, tile_height: int) -> bytes:
    values = {256: width, 257: height, 322: tile_width, 323: tile_height}
    return tiff("<", *((tag, LONG, 1, value) for tag, value in values.items()))


@pytest.mark.parametrize(
    ("accepted", "rejected"),
    [
        ((4096, 4096, 4096, 4096), (4096, 4096, 4096, 4097)),  # pixels of a tile
        ((1, 1_198_372, 16, 1), (1, 1_198_373, 16, 1)),  # 16 n <= 2 n + 4096 ** 2
        ((1_198_372, 1, 1, 16), (1_198_373, 1, 1, 16)),
        ((16, 8_388_608, 16, 1), (1, 8_388_608, 16, 1)),
    ],
)
def test_tiles_of_a_tiff_are_limited(accepted: tuple[int, int, int, int], rejected: tuple[int, int, int, int]) -> None:
    assert is_accepted(sides(*accepted), "TIFF")
    assert not is_accepted(sides(*rejected), "TIFF")


@pytest.mark.parametrize("tag", [256, 257, 322, 323])
def test_sides_of_a_tiff_are_unambiguous(tag: int) -> None:
    assert is_accepted(tiff("<", (tag, SHORT, 1, 5)), "TIFF")
    assert not is_accepted(tiff("<", (tag, SHORT, 1, 5), (tag, SHORT, 1, 5)), "TIFF")
    assert not is_accepted(tiff("<", (tag, RATIONAL, 1, 5)), "TIFF")


def strips(count: int) -> bytes:
    """Return a TIFF of 16 x 16 pixels with this number of strips of half the rows, so that most of them overlap."""
    entries: list[Entry] = [
        *((tag, LONG, 1, value) for tag, value in ((256, 16), (257, 16))),
        *((tag, SHORT, 1, value) for tag, value in ((258, 8), (259, 1), (262, 1))),
        (273, LONG, count, 0),
        (277, SHORT, 1, 1),
        (278, LONG, 1, 8),
        (279, LONG, count, 0),
    ]
    end = len(tiff("<", *entries))
    entries[5], entries[8] = (273, LONG, count, end), (279, LONG, count, end + 4 * count)
    data_start = end + 8 * count
    return tiff("<", *entries) + struct.pack(f"<{2 * count}I", *[data_start] * count, *[128] * count) + bytes(128)


def test_decoded_samples_of_a_tiff_are_limited_to_eight_per_pixel() -> None:
    assert work_is_accepted(strips(16), "TIFF")
    assert not work_is_accepted(strips(17), "TIFF")


# --- BMP, HEIC


def run_lengths(width: int, height: int) -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, 2, 1, 1, 256, 0)
    return b"BM" + struct.pack("<IHHI", 1080, 0, 0, 1078) + head + bytes(1024) + b"\0\1"


def test_run_length_encoded_pixels_of_a_bmp_are_limited() -> None:
    assert work_is_accepted(run_lengths(2100, 1000), "BMP")
    assert not work_is_accepted(run_lengths(2100, 1001), "BMP")
    assert not work_is_accepted(run_lengths(2_100_001, 1), "BMP")
    assert work_is_accepted(encode(np.zeros((1001, 2100, 3), np.uint8), "BMP"), "BMP"), "without run lengths"


def test_boxes_of_a_heic_are_limited() -> None:
    assert is_accepted(b"\0\0\0\x08free" * 1000, "HEIC")
    assert not is_accepted(b"\0\0\0\x08free" * 1001, "HEIC")


def test_other_formats_have_no_limits_on_their_structure() -> None:
    for kind in ("PNG", "GIF", "WEBP", "BMP", "AVIF"):
        check_structure(START + COMMENT * 60_000 + b"Exif\0\0" * 20, kind)
