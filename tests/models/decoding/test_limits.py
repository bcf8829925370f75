"""Small files that are expensive to decode, and similar harmless ones."""

from __future__ import annotations

import itertools
import math
import struct
import time
import zlib
from io import BytesIO
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from models.arrays import Pixels
from models.decoding.errors import UndecodableImage
from models.decoding.limits import MAX_EXIF_BLOCKS, MAX_EXIF_BYTES, MAX_JPEG_SCANS, MAX_READS
from models.preprocess import decode_array
from tests.support.images import Order, blocks, chunk, encode, noise, tiff

MAX_CPU_S = 1.0  # parsing the maximum number of parts comes close
ignore_warnings = pytest.mark.filterwarnings("ignore")  # Pillow warns about damaged metadata

SHORT, LONG, RATIONAL = 3, 4, 5


def jpeg_with(segments: bytes) -> bytes:
    data = encode(blocks(), "JPEG")
    return data[:2] + segments + data[2:]


def segment(marker: int, payload: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def with_scans(count: int, image: Pixels | None = None) -> bytes:
    """Return a progressive JPEG with additional empty scans, which the standard allows."""
    data = encode(blocks() if image is None else image, "JPEG", progressive=True)
    second = data.index(b"\xff\xda", data.index(b"\xff\xda") + 2)
    end = second + 2 + int.from_bytes(data[second + 2 : second + 4])
    return data[:second] + data[second:end] * count + data[second:]


def directory(entries: dict[int, tuple[int, list[int]]] | list[tuple[int, int, list[int]]], data: bytes) -> bytes:
    """Return a little-endian TIFF file, with its data at byte 8."""
    rows = [(tag, *entry) for tag, entry in entries.items()] if isinstance(entries, dict) else entries
    base = 8 + len(data) + 2 + 12 * len(rows) + 4
    table, values = struct.pack("<H", len(rows)), b""
    for tag, kind, numbers in sorted(rows, key=lambda entry: entry[0]):
        raw = b"".join(
            number.to_bytes(8 if kind == RATIONAL else 2 if kind == SHORT else 4, "little") for number in numbers
        )
        table += struct.pack("<HHI", tag, kind, len(numbers))
        table += raw.ljust(4, b"\0") if len(raw) <= 4 else struct.pack("<I", base + len(values))
        values += raw if len(raw) > 4 else b""
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + table + bytes(4) + values


def tiled(width: int, height: int, tile_width: int, tile_height: int) -> bytes:
    """Return a grey TIFF whose deflated tiles all refer to the same bytes."""
    data = zlib.compress(bytes(tile_width * tile_height), 9)
    count = math.ceil(width / tile_width) * math.ceil(height / tile_height)
    sides = {256: [width], 257: [height], 322: [tile_width], 323: [tile_height]}
    entries = {tag: (LONG, value) for tag, value in sides.items()}
    entries |= {tag: (SHORT, [value]) for tag, value in {258: 8, 259: 8, 262: 1, 277: 1}.items()}
    return directory(entries | {324: (LONG, [8] * count), 325: (LONG, [len(data)] * count)}, data)


def stripped(width: int, height: int, strips: int, more: dict[int, tuple[int, list[int]]] | None = None) -> bytes:
    """Return a TIFF of one bit per pixel; each strip has half of the rows, so more than two overlap."""
    data = bytes(width // 8 * height // 2)
    entries = {tag: (LONG, [value]) for tag, value in {256: width, 257: height, 278: height // 2}.items()}
    entries |= {tag: (SHORT, [value]) for tag, value in {258: 1, 259: 1, 262: 1, 277: 1}.items()}
    return directory(entries | {273: (LONG, [8] * strips), 279: (LONG, [len(data)] * strips)} | (more or {}), data)


def run_lengths(width: int, height: int) -> bytes:
    """Return a run-length encoded BMP; Pillow pads each row, which has only one pixel."""
    rows, palette = b"\1\1\0\0" * height, b"".join(bytes([level, 0, 255 - level, 0]) for level in range(256))
    begin = 14 + 40 + len(palette)
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(rows), 1, 1, 256, 0)
    return b"BM" + struct.pack("<IHHI", begin + len(rows), 0, 0, begin) + head + palette + rows


def png_with_exif(exif: bytes) -> bytes:
    data = encode(noise(4, 4), "PNG")
    return data[:33] + chunk(b"eXIf", exif) + data[33:]


HOSTILE = [
    pytest.param(jpeg_with(b"\xff\xfe\0\x02" * MAX_READS), id="JPEG of empty comments"),
    pytest.param(jpeg_with(b"\xff\xe1\0\x0cExif\0\0abcd" * (MAX_EXIF_BLOCKS + 1)), id="JPEG of EXIF blocks"),
    pytest.param(jpeg_with(b"\xff" * 2 * MAX_READS), id="JPEG of padding"),
    pytest.param(with_scans(MAX_JPEG_SCANS), id="JPEG of empty scans"),
    pytest.param(with_scans(1_000_000), id="JPEG of a million empty scans"),
    pytest.param(with_scans(60, np.zeros((4000, 4000, 3), np.uint8)), id="large JPEG of fewer scans"),
    pytest.param(
        jpeg_with(b"\xff\xfe\0\x02" * 4_000_000) + b"\xff\xda" * (MAX_JPEG_SCANS + 1),
        id="JPEG of empty comments, with scan markers after its end",
    ),
    pytest.param(jpeg_with(segment(0xDB, bytes(65) * 1000) * 300), id="JPEG of tables"),
    pytest.param(
        jpeg_with(b"\xff\xd9" + segment(0xDB, bytes(65) * 1000) * 300), id="JPEG of tables after an end marker"
    ),
    pytest.param(jpeg_with((b"\xff\xf0\xff\xff" + segment(0xDB, bytes(65) * 1000)) * 300), id="JPEG of hidden tables"),
    pytest.param(
        jpeg_with(segment(0xED, b"Photoshop 3.0\0" + b"8BIM\4\4\0\0\0\0\0\0" * 5000) * 300),
        id="JPEG of Photoshop blocks",
    ),
    pytest.param(
        encode(noise(4, 4), "PNG")[:33] + chunk(b"abCd", b"") * MAX_READS + encode(noise(4, 4), "PNG")[33:],
        id="PNG of empty chunks",
    ),
    pytest.param(tiff(np.zeros((10, 10), np.uint8), "<", tile=60_000, compression=5), id="TIFF of one huge tile"),
    pytest.param(
        tiff(np.zeros((10, 10), np.uint8), ">", tile=60_000, compression=5), id="TIFF of one huge tile, big endian"
    ),
    pytest.param(tiff(np.zeros((256, 256), np.uint8), "<", tile=1), id="TIFF of tiles of one pixel, little endian"),
    pytest.param(tiff(np.zeros((256, 256), np.uint8), ">", tile=1), id="TIFF of tiles of one pixel, big endian"),
    pytest.param(tiled(30_000, 1, 16, 1 << 20), id="TIFF of tall tiles with one visible row"),
    pytest.param(tiled(30_000, 1, 1, 1 << 24), id="TIFF of tiles one pixel wide"),
    pytest.param(stripped(4096, 4096, 4000), id="TIFF of overlapping strips"),
    pytest.param(stripped(64, 64, 2, {282: (RATIONAL, [1] * 1_000_000)}), id="TIFF of a million resolutions"),
    pytest.param(stripped(64, 64, 2, {700: (LONG, [1] * 1_000_000)}), id="TIFF of a million numbers"),
    pytest.param(
        directory(
            [(256, LONG, [30_000]), (257, LONG, [30_000]), (257, LONG, [1]), (322, LONG, [16]), (323, LONG, [1 << 20])],
            b"",
        ),
        id="TIFF with two heights",
    ),
    pytest.param(run_lengths(7000, 7000), id="BMP of run lengths"),
]


@pytest.mark.quiet
@ignore_warnings
@pytest.mark.parametrize("data", HOSTILE)
def test_expensive_file_is_rejected_quickly(data: bytes) -> None:
    began = time.process_time()
    with pytest.raises(UndecodableImage, match="would take too long"):
        decode_array(data)
    assert time.process_time() - began < MAX_CPU_S


@ignore_warnings
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_megabytes_of_metadata_are_decoded_quickly(kind: str) -> None:
    """An orientation of a million fractions; Pillow would create an object for each."""
    exif = b"Exif\0\0" + stripped(8, 8, 0, {0x0112: (RATIONAL, [1] * 1_000_000)})
    if kind == "PNG":
        data = png_with_exif(exif[6:])
    elif kind == "TIFF":
        data = stripped(64, 64, 2, {0x0112: (RATIONAL, [1] * 1000)})
    elif kind == "JPEG":
        data = jpeg_with(
            b"".join(segment(0xE1, b"Exif\0\0" + exif[6:][i : i + 65_000]) for i in range(0, 900_000, 65_000))
        )
    else:
        data = encode(noise(4, 4), kind, exif=exif)
    began = time.process_time()
    assert decode_array(data).shape[2] == 3
    assert time.process_time() - began < MAX_CPU_S


def test_metadata_of_usual_size_is_read() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a" * (MAX_EXIF_BYTES // 8)
    file = BytesIO()
    Image.new("RGB", (30, 20)).save(file, "PNG", exif=exif)
    assert decode_array(file.getvalue()).shape == (30, 20, 3), "the orientation was not applied"


@ignore_warnings
def test_file_of_many_parts_is_decoded() -> None:
    assert decode_array(with_scans(MAX_JPEG_SCANS - 20)).shape == blocks().shape
    assert decode_array(with_scans(20, np.zeros((4000, 4000, 3), np.uint8))).shape == (4000, 4000, 3)
    assert decode_array(jpeg_with(b"\xff\xfe\0\x02" * 20_000)).shape == blocks().shape
    assert decode_array(stripped(64, 64, 2)).shape == (64, 64, 3)
    assert decode_array(run_lengths(1920, 1080)).shape == (1080, 1920, 3)
    assert decode_array(tiled(300, 10, 256, 256)).shape == (10, 300, 3)
    for order, tile in itertools.product(get_args(Order), (1, 16, 64)):
        assert decode_array(tiff(np.zeros((64, 64), np.uint8), order, tile=tile)).shape == (64, 64, 3)


@pytest.mark.parametrize("scans", [MAX_JPEG_SCANS - 10, MAX_JPEG_SCANS + 1])
def test_scan_markers_after_the_end_of_a_jpeg_are_not_counted(scans: int) -> None:
    """Phones append a whole video to the image."""
    image = np.zeros((3000, 4000, 3), np.uint8)
    assert decode_array(encode(image, "JPEG") + b"\xff\xda\0\x02" * scans).shape == image.shape
