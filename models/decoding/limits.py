"""What decoding may cost beyond bytes and pixels.

Pillow walks segments, tiles and run lengths in Python, and libjpeg goes over the whole picture for every scan:
20 MB of nothing else would keep a core busy for minutes or hours. Real files stay far below these bounds.
"""

from __future__ import annotations

import math
import re
from io import BytesIO
from typing import Literal

from PIL import ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from models.errors import UndecodableImage

MAX_READS = 200_000
MAX_JPEG_SCANS = 100
MAX_JPEG_SCANNED_PIXELS = 900_000_000  # of all scans together; a progressive JPEG usually has ten, of CMYK 18
MAX_JPEG_SEGMENTS = 50_000
MAX_JPEG_TABLE_BYTES = 64 * 1024
MAX_PHOTOSHOP_BLOCKS = 10_000
MAX_EXIF_BLOCKS = 16  # of 64 KiB
MAX_EXIF_BYTES = 256 * 1024
MAX_TIFF_PARTS = 50_000
MAX_TIFF_TILE_PIXELS = 4096 * 4096  # libtiff makes room for a whole tile, however small the image
MAX_TIFF_FRACTIONS = 1000  # in one entry; each becomes an object
MAX_TIFF_VALUES = 250_000
MAX_BMP_RLE_PIXELS = 2_100_000
MAX_PADDING = 2  # pixels that are decoded for each one that is seen, beyond one tile
MAX_PLANES = 8  # for each pixel that is seen, as many as there are planes

_JPEG_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")  # neither stuffed zeros nor restarts
_JPEG_END = 0xD9
_JPEG_ALONE = {0x01, 0xC8, 0xD8, _JPEG_END, *range(0xF0, 0xFE)}  # markers that Pillow takes to have no length
_JPEG_SCAN = 0xDA
_JPEG_TABLES = {0xDB, 0xC4}  # quantisation, Huffman
_TIFF_OFFSETS = {273, 324}  # of strips, of tiles
_TIFF_SIDES = {256, 257, 322, 323}  # width and length, of the image and of its tiles
_TIFF_SIZES = {3: 2, 4: 4}  # type of a value -> bytes, for the types that sides may have
_TIFF_BYTES = {1, 2, 6, 7}  # types that are taken as they are
_TIFF_FRACTIONS = {5, 10}


class BoundedReader(BytesIO):
    """A file in memory that gives up after very many reads, which only the smallest parts can take."""

    _reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self._reads += 1
        if self._reads > MAX_READS:
            raise _refusal("very many parts")
        return super().read(size)


def check_structure(data: bytes, kind: str) -> None:
    """Refuse a file whose parts alone would take too long to read; raises UndecodableImage."""
    if kind == "JPEG":
        _check_jpeg(data)
    if kind == "TIFF":
        _check_tiff(data)


def check_work(image: ImageFile.ImageFile, data: bytes) -> None:
    """Refuse an image, opened from `data`, for whose pixels far more would be decoded; raises UndecodableImage."""
    pixels = image.width * image.height
    scans = min(MAX_JPEG_SCANS, MAX_JPEG_SCANNED_PIXELS // pixels)
    if isinstance(image, JpegImageFile) and _has_more_scans(data, scans):
        raise _refusal("very many scans")
    if any(tile.codec_name == "bmp_rle" for tile in image.tile) and pixels > MAX_BMP_RLE_PIXELS:
        raise _refusal(f"more than {MAX_BMP_RLE_PIXELS:,} pixels in run lengths")
    parts = (tile.extents for tile in image.tile if tile.extents)
    if sum((right - left) * (bottom - top) for left, top, right, bottom in parts) > MAX_PLANES * pixels:
        raise _refusal("parts that cover each other")


def _check_jpeg(data: bytes) -> None:
    """Look at the segments before the first scan, which Pillow takes apart in Python (ITU-T T.81, B.1.1)."""
    if data.count(b"Exif\x00\x00") > MAX_EXIF_BLOCKS:  # Pillow joins them, each time copying all
        raise _refusal("very many EXIF blocks")
    if data.count(b"8BIM") > MAX_PHOTOSHOP_BLOCKS:
        raise _refusal("very many Photoshop blocks")
    tables, position = 0, 2
    for _ in range(MAX_JPEG_SEGMENTS):
        marker = _JPEG_MARKER.search(data, position)
        if marker is None or marker[1][0] == _JPEG_SCAN:  # Pillow goes on beyond an end before it
            return
        position = marker.end()
        if marker[1][0] not in _JPEG_ALONE:
            length = int.from_bytes(data[position : position + 2])
            position += length
            tables += length if marker[1][0] in _JPEG_TABLES else 0
        if tables > MAX_JPEG_TABLE_BYTES:
            raise _refusal("very many tables")
    raise _refusal("very many parts")


def _has_more_scans(data: bytes, most: int) -> bool:
    if data.count(b"\xff\xda") <= most:  # there are no more than that, and nearly always fewer
        return False
    scans, position = 0, 2
    for _ in range(MAX_READS):
        marker = _JPEG_MARKER.search(data, position)
        if marker is None or marker[1][0] == _JPEG_END or scans > most:
            return scans > most
        position = marker.end()
        if marker[1][0] not in _JPEG_ALONE:
            position += int.from_bytes(data[position : position + 2])
        scans += marker[1][0] == _JPEG_SCAN
    raise _refusal("very many parts")


def _check_tiff(data: bytes) -> None:
    """Look at the first directory (TIFF 6.0, section 2)."""
    order: Literal["little", "big"] = "little" if data.startswith(b"II") else "big"

    def number(start: int, size: int) -> int:
        return int.from_bytes(data[start : start + size], order)

    first = number(4, 4)
    sides: dict[int, int] = {}
    for entry in range(first + 2, first + 2 + 12 * number(first, 2), 12):
        tag, kind, count = number(entry, 2), number(entry + 2, 2), number(entry + 4, 4)
        if tag in _TIFF_OFFSETS and count > MAX_TIFF_PARTS:
            raise _refusal("very many strips or tiles")
        if kind not in _TIFF_BYTES and count > (MAX_TIFF_FRACTIONS if kind in _TIFF_FRACTIONS else MAX_TIFF_VALUES):
            raise _refusal("entries of very many values")
        if tag in _TIFF_SIDES:
            if tag in sides or kind not in _TIFF_SIZES:
                raise _refusal("sides that can be read in two ways")
            sides[tag] = number(entry + 8, _TIFF_SIZES[kind])
    _check_tiles(*(sides.get(tag, 1) for tag in sorted(_TIFF_SIDES)))


def _check_tiles(width: int, height: int, tile_width: int, tile_height: int) -> None:
    """A tile is decoded whole, however little of it is seen."""
    if tile_width * tile_height > MAX_TIFF_TILE_PIXELS:
        raise _refusal("very large tiles")
    decoded = math.prod(
        math.ceil(side / max(1, tile)) * tile for side, tile in ((width, tile_width), (height, tile_height))
    )
    if decoded > MAX_PADDING * width * height + MAX_TIFF_TILE_PIXELS:
        raise _refusal("tiles of which little is seen")


def _refusal(what: str) -> UndecodableImage:
    return UndecodableImage(f"This image is made of {what}; decoding it would take too long. Save it again.")
