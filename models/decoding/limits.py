"""Limits on the cost of decoding an image, checked before anything is decoded.

Beyond bytes and pixels, some structures are expensive: Pillow parses segments, tiles and run lengths in Python, and
libjpeg processes the whole image for every scan. A 20 MB file of nothing else would occupy a core for minutes or hours.
Real files stay far below these limits.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from io import BytesIO
from typing import Literal

from PIL import ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from models.decoding import errors
from models.decoding.errors import too_expensive

MAX_READS = 200_000
MAX_JPEG_SCANS = 100
MAX_JPEG_SCANNED_PIXELS = 900_000_000  # over all scans; a progressive JPEG usually has 10 scans, a CMYK one 18
MAX_JPEG_SEGMENTS = 50_000
MAX_JPEG_TABLE_BYTES = 64 * 1024
MAX_PHOTOSHOP_BLOCKS = 10_000
MAX_EXIF_BLOCKS = 16  # of 64 KiB each
MAX_EXIF_BYTES = 256 * 1024
MAX_HEIC_BOXES = 1000  # of the outermost level, where a photo has about four
MAX_TIFF_PARTS = 50_000  # strips or tiles
MAX_TIFF_TILE_PIXELS = 4096 * 4096  # libtiff allocates a whole tile, even for a small image
MAX_TIFF_FRACTIONS = 1000  # per entry; Pillow creates an object for each
MAX_TIFF_VALUES = 250_000  # per entry
MAX_BMP_RLE_PIXELS = 2_100_000
MAX_PADDING = 2  # decoded pixels per visible pixel, in addition to one tile
MAX_PLANES = 8  # decoded samples per visible pixel

_JPEG_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")  # without stuffed zeros and restart markers
_JPEG_END = 0xD9
_JPEG_NO_LENGTH = {0x01, 0xC8, 0xD8, _JPEG_END, *range(0xF0, 0xFE)}  # markers that Pillow reads as having no length
_JPEG_SCAN = 0xDA
_JPEG_TABLES = {0xDB, 0xC4}  # quantization, Huffman
_HEIC_ENTRY = b"infe"
_TIFF_OFFSET_TAGS = {273, 324}  # of strips, of tiles
_TIFF_SIDE_TAGS = {256, 257, 322, 323}  # width and length, of the image and of its tiles
_TIFF_SIDE_TYPES = {3: 2, 4: 4}  # value type -> bytes, for the types that sides may have
_TIFF_BYTE_TYPES = {1, 2, 6, 7}  # Pillow does not parse their values
_TIFF_FRACTION_TYPES = {5, 10}


@dataclass(frozen=True)
class Limits:
    """Limits of an image: encoded bytes, pixels, and the longer side in pixels."""

    max_bytes: int = 20_000_000
    max_pixels: int = 64_000_000
    max_side: int = 30_000


DEFAULT_LIMITS = Limits()


class BoundedReader(BytesIO):
    """An in-memory file that fails after `MAX_READS` reads; only files of tiny parts need that many."""

    _reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self._reads += 1
        if self._reads > MAX_READS:
            raise too_expensive("too many parts")
        return super().read(size)


def check_size(size: tuple[int, int], limits: Limits) -> None:
    """Raise ImageTooLarge if (width, height) exceeds the limits."""
    width, height = size
    if width * height > limits.max_pixels:
        raise errors.too_many_pixels(limits.max_pixels, size)
    if max(size) > limits.max_side:
        raise errors.too_long_side(size, limits.max_side)


def check_structure(data: bytes, kind: str) -> None:
    """Reject a file whose structure alone is too expensive to parse; raises UndecodableImage."""
    if kind == "JPEG":
        _check_jpeg(data)
    if kind == "TIFF":
        _check_tiff(data)
    if kind == "HEIC":
        _check_heic(data)


def check_decoding_work(image: ImageFile.ImageFile, data: bytes) -> None:
    """Reject an opened image if decoding would process far more than its pixels; raises UndecodableImage."""
    pixels = image.width * image.height
    max_scans = min(MAX_JPEG_SCANS, MAX_JPEG_SCANNED_PIXELS // pixels)
    if isinstance(image, JpegImageFile) and _has_more_scans(data, max_scans):
        raise too_expensive("too many scans")
    if any(tile.codec_name == "bmp_rle" for tile in image.tile) and pixels > MAX_BMP_RLE_PIXELS:
        raise too_expensive(f"more than {MAX_BMP_RLE_PIXELS:,} run-length encoded pixels")
    parts = (tile.extents for tile in image.tile if tile.extents)
    if sum((right - left) * (bottom - top) for left, top, right, bottom in parts) > MAX_PLANES * pixels:
        raise too_expensive("overlapping parts")


def _check_jpeg(data: bytes) -> None:
    """Check the segments before the first scan, which Pillow parses in Python (ITU-T T.81, B.1.1)."""
    if data.count(b"Exif\x00\x00") > MAX_EXIF_BLOCKS:  # Pillow concatenates them one by one
        raise too_expensive("too many EXIF blocks")
    if data.count(b"8BIM") > MAX_PHOTOSHOP_BLOCKS:
        raise too_expensive("too many Photoshop blocks")
    table_bytes, position = 0, 2
    for _ in range(MAX_JPEG_SEGMENTS):
        marker = _JPEG_MARKER.search(data, position)
        if marker is None or marker[1][0] == _JPEG_SCAN:  # not _JPEG_END: Pillow continues after it
            return
        position = marker.end()
        if marker[1][0] not in _JPEG_NO_LENGTH:
            length = int.from_bytes(data[position : position + 2])
            position += length
            table_bytes += length if marker[1][0] in _JPEG_TABLES else 0
        if table_bytes > MAX_JPEG_TABLE_BYTES:
            raise too_expensive("too many tables")
    raise too_expensive("too many parts")


def _has_more_scans(data: bytes, max_scans: int) -> bool:
    if data.count(b"\xff\xda") <= max_scans:  # an upper bound of the number of scans
        return False
    scans, position = 0, 2
    for _ in range(MAX_READS):
        marker = _JPEG_MARKER.search(data, position)
        if marker is None or marker[1][0] == _JPEG_END or scans > max_scans:
            return scans > max_scans
        position = marker.end()
        if marker[1][0] not in _JPEG_NO_LENGTH:
            position += int.from_bytes(data[position : position + 2])
        scans += marker[1][0] == _JPEG_SCAN
    raise too_expensive("too many parts")


def _check_tiff(data: bytes) -> None:
    """Check the first image file directory (TIFF 6.0, section 2)."""
    order: Literal["little", "big"] = "little" if data.startswith(b"II") else "big"

    def number(start: int, size: int) -> int:
        return int.from_bytes(data[start : start + size], order)

    directory = number(4, 4)
    sides: dict[int, int] = {}
    for entry in range(directory + 2, directory + 2 + 12 * number(directory, 2), 12):
        tag, value_type, count = number(entry, 2), number(entry + 2, 2), number(entry + 4, 4)
        if tag in _TIFF_OFFSET_TAGS and count > MAX_TIFF_PARTS:
            raise too_expensive("too many strips or tiles")
        max_values = MAX_TIFF_FRACTIONS if value_type in _TIFF_FRACTION_TYPES else MAX_TIFF_VALUES
        if value_type not in _TIFF_BYTE_TYPES and count > max_values:
            raise too_expensive("too many metadata values")
        if tag in _TIFF_SIDE_TAGS:
            if tag in sides or value_type not in _TIFF_SIDE_TYPES:
                raise too_expensive("ambiguous side lengths")
            sides[tag] = number(entry + 8, _TIFF_SIDE_TYPES[value_type])
    _check_tiles(*(sides.get(tag, 1) for tag in sorted(_TIFF_SIDE_TAGS)))


def _check_tiles(width: int, height: int, tile_width: int, tile_height: int) -> None:
    """Check the pixels that are decoded: a tile is always decoded completely, even if little of it is visible."""
    if tile_width * tile_height > MAX_TIFF_TILE_PIXELS:
        raise too_expensive("too large tiles")
    decoded = math.prod(
        math.ceil(side / max(1, tile)) * tile for side, tile in ((width, tile_width), (height, tile_height))
    )
    if decoded > MAX_PADDING * width * height + MAX_TIFF_TILE_PIXELS:
        raise too_expensive("mostly invisible tiles")


def _check_heic(data: bytes) -> None:
    """Check the outermost boxes, and the types in their lists of items (ISO/IEC 14496-12, 4.2 and 8.11.6)."""
    position = 0
    for _ in range(MAX_HEIC_BOXES):
        size, kind = int.from_bytes(data[position : position + 4]), data[position + 4 : position + 8]
        if size == 1:
            size = int.from_bytes(data[position + 8 : position + 16])
        end = position + size if size else len(data)
        if kind == b"meta":
            _check_heic_entries(data[position:end])
        if size < 8 or end >= len(data):
            return
        position = end
    raise too_expensive("too many parts")


def _check_heic_entries(meta: bytes) -> None:
    """Reject entries whose type or name is no text, with which pi-heif 1.4 crashes while it reads metadata."""
    position = meta.find(_HEIC_ENTRY)
    while position >= 0:
        size, version = int.from_bytes(meta[position - 4 : position]), meta[position + 4 : position + 5]
        entry = meta[position + (14 if version == b"\3" else 12) : position - 4 + size]
        try:
            entry[:4].decode("ascii")
            entry[4:].decode()
        except UnicodeDecodeError as error:
            raise errors.damaged("HEIC") from error
        if size < 8:  # 64 bits of size, or up to the end, which nothing writes for an entry
            raise errors.damaged("HEIC")
        position = meta.find(_HEIC_ENTRY, position + 4)
