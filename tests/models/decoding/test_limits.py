"""Small files that would keep a decoder busy for a long time, and their harmless relatives."""

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

from models.arrays import Pixels, decode_array
from models.decoding.limits import MAX_EXIF_BLOCKS, MAX_EXIF_BYTES, MAX_JPEG_SCANS, MAX_READS
from models.errors import UndecodableImage
from tests.support.images import Order, blocks, chunk, encode, noise, tiff

SECONDS = 1.0  # of a core; a parser of very many reads comes close to it
as_served = pytest.mark.filterwarnings("ignore")  # damaged metadata make Pillow warn; a server goes on

SHORT, LONG, RATIONAL = 3, 4, 5


def jpeg_with(segments: bytes) -> bytes:
    data = encode(blocks(), "JPEG")
    return data[:2] + segments + data[2:]


def segment(marker: int, payload: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def with_scans(count: int, picture: Pixels | None = None) -> bytes:
    """A progressive JPEG with more scans, each of which is empty, as its writer is free to do."""
    data = encode(blocks() if picture is None else picture, "JPEG", progressive=True)
    second = data.index(b"\xff\xda", data.index(b"\xff\xda") + 2)
    end = second + 2 + int.from_bytes(data[second + 2 : second + 4])
    return data[:second] + data[second:end] * count + data[second:]


def directory(entries: dict[int, tuple[int, list[int]]] | list[tuple[int, int, list[int]]], data: bytes) -> bytes:
    """A TIFF file, little endian, with its data at byte 8."""
    listed = [(tag, *each) for tag, each in entries.items()] if isinstance(entries, dict) else entries
    base = 8 + len(data) + 2 + 12 * len(listed) + 4
    table, values = struct.pack("<H", len(listed)), b""
    for tag, kind, found in sorted(listed, key=lambda entry: entry[0]):
        raw = b"".join(each.to_bytes(8 if kind == RATIONAL else 2 if kind == SHORT else 4, "little") for each in found)
        table += struct.pack("<HHI", tag, kind, len(found))
        table += raw.ljust(4, b"\0") if len(raw) <= 4 else struct.pack("<I", base + len(values))
        values += raw if len(raw) > 4 else b""
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + table + bytes(4) + values


def tiled(width: int, height: int, tile_width: int, tile_height: int) -> bytes:
    """A grey TIFF whose deflated tiles are all the same bytes of the file."""
    data = zlib.compress(bytes(tile_width * tile_height), 9)
    count = math.ceil(width / tile_width) * math.ceil(height / tile_height)
    sides = {256: [width], 257: [height], 322: [tile_width], 323: [tile_height]}
    entries = {tag: (LONG, value) for tag, value in sides.items()}
    entries |= {tag: (SHORT, [value]) for tag, value in {258: 8, 259: 8, 262: 1, 277: 1}.items()}
    return directory(entries | {324: (LONG, [8] * count), 325: (LONG, [len(data)] * count)}, data)


def stripped(width: int, height: int, strips: int, more: dict[int, tuple[int, list[int]]] | None = None) -> bytes:
    """A TIFF of one bit a pixel; with more than two strips they cover each other, since each has half of the rows."""
    data = bytes(width // 8 * height // 2)
    entries = {tag: (LONG, [value]) for tag, value in {256: width, 257: height, 278: height // 2}.items()}
    entries |= {tag: (SHORT, [value]) for tag, value in {258: 1, 259: 1, 262: 1, 277: 1}.items()}
    return directory(entries | {273: (LONG, [8] * strips), 279: (LONG, [len(data)] * strips)} | (more or {}), data)


def run_lengths(width: int, height: int) -> bytes:
    """A BMP, each of whose rows is one pixel and what Pillow fills up."""
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
        id="JPEG of empty comments, and what looks like scans behind it",
    ),
    pytest.param(jpeg_with(segment(0xDB, bytes(65) * 1000) * 300), id="JPEG of tables"),
    pytest.param(jpeg_with(b"\xff\xd9" + segment(0xDB, bytes(65) * 1000) * 300), id="JPEG of tables behind an end"),
    pytest.param(jpeg_with((b"\xff\xf0\xff\xff" + segment(0xDB, bytes(65) * 1000)) * 300), id="JPEG of tables, hidden"),
    pytest.param(
        jpeg_with(segment(0xED, b"Photoshop 3.0\0" + b"8BIM\4\4\0\0\0\0\0\0" * 5000) * 300),
        id="JPEG of Photoshop blocks",
    ),
    pytest.param(
        encode(noise(4, 4), "PNG")[:33] + chunk(b"abCd", b"") * MAX_READS + encode(noise(4, 4), "PNG")[33:],
        id="PNG of empty chunks",
    ),
    pytest.param(tiff(np.zeros((10, 10), np.uint8), "<", tile=60_000, compression=5), id="TIFF of one huge tile"),
    pytest.param(tiff(np.zeros((10, 10), np.uint8), ">", tile=60_000, compression=5), id="TIFF of one, big endian"),
    pytest.param(tiff(np.zeros((256, 256), np.uint8), "<", tile=1), id="TIFF of tiles of one pixel, little endian"),
    pytest.param(tiff(np.zeros((256, 256), np.uint8), ">", tile=1), id="TIFF of tiles of one pixel, big endian"),
    pytest.param(tiled(30_000, 1, 16, 1 << 20), id="TIFF of tall tiles of which a row is seen"),
    pytest.param(tiled(30_000, 1, 1, 1 << 24), id="TIFF of tiles one pixel wide"),
    pytest.param(stripped(4096, 4096, 4000), id="TIFF of strips that cover each other"),
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


@as_served
@pytest.mark.parametrize("data", HOSTILE)
def test_a_file_that_would_take_long_is_refused_at_once(data: bytes) -> None:
    began = time.process_time()
    with pytest.raises(UndecodableImage, match="would take too long"):
        decode_array(data)
    assert time.process_time() - began < SECONDS


@as_served
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_metadata_of_megabytes_take_no_time(kind: str) -> None:
    """An orientation of a million fractions, each of which Pillow would make an object of."""
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
    assert time.process_time() - began < SECONDS


def test_metadata_of_a_usual_size_are_read() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a" * (MAX_EXIF_BYTES // 8)
    file = BytesIO()
    Image.new("RGB", (30, 20)).save(file, "PNG", exif=exif)
    assert decode_array(file.getvalue()).shape == (30, 20, 3), "the orientation was not looked at"


@as_served
def test_a_file_of_many_parts_is_taken() -> None:
    assert decode_array(with_scans(MAX_JPEG_SCANS - 20)).shape == blocks().shape
    assert decode_array(with_scans(20, np.zeros((4000, 4000, 3), np.uint8))).shape == (4000, 4000, 3)
    assert decode_array(jpeg_with(b"\xff\xfe\0\x02" * 20_000)).shape == blocks().shape
    assert decode_array(stripped(64, 64, 2)).shape == (64, 64, 3)
    assert decode_array(run_lengths(1920, 1080)).shape == (1080, 1920, 3)
    assert decode_array(tiled(300, 10, 256, 256)).shape == (10, 300, 3)
    for order, tile in itertools.product(get_args(Order), (1, 16, 64)):
        assert decode_array(tiff(np.zeros((64, 64), np.uint8), order, tile=tile)).shape == (64, 64, 3)


@pytest.mark.parametrize("scans", [MAX_JPEG_SCANS - 10, MAX_JPEG_SCANS + 1])
def test_bytes_behind_a_jpeg_that_look_like_scans_are_not_counted(scans: int) -> None:
    """Phones put a whole video behind the picture."""
    picture = np.zeros((3000, 4000, 3), np.uint8)
    assert decode_array(encode(picture, "JPEG") + b"\xff\xda\0\x02" * scans).shape == picture.shape
