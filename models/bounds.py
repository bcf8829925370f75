"""What decoding may cost beyond bytes and pixels.

Pillow walks segments, tiles and run lengths in Python, and libjpeg goes over the whole picture for every scan:
20 MB of nothing else would keep a core busy for minutes or hours. Real files stay far below these bounds.
"""

from __future__ import annotations

import math
import re
from io import BytesIO
from typing import Literal

from models.errors import UndecodableImage

MAX_READS = 200_000
MAX_JPEG_SCANS = 100
MAX_EXIF_BLOCKS = 100
MAX_TIFF_PARTS = 50_000
MAX_TIFF_TILE_PIXELS = 4096 * 4096  # libtiff makes room for a whole tile, however small the image

_JPEG_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")  # neither stuffed zeros nor restarts
_JPEG_ALONE = {0x01, 0xD8}  # markers without a length
_JPEG_END = 0xD9
_JPEG_SCAN = 0xDA
_TIFF_OFFSETS = {273, 324}  # of strips, of tiles
_TIFF_TILE_SIDES = {322, 323}
_TIFF_SIZES = {3: 2, 4: 4}  # type of a value -> bytes, for the types that sides may have


class BoundedReader(BytesIO):
    """A file in memory that gives up after very many reads, which only the smallest parts can take."""

    _reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self._reads += 1
        if self._reads > MAX_READS:
            raise _refusal("very many parts")
        return super().read(size)


def check_structure(data: bytes, kind: str) -> None:
    """Refuse a file whose parts alone would take too long; raises UndecodableImage."""
    if kind == "JPEG" and data.count(b"Exif\x00\x00") > MAX_EXIF_BLOCKS:  # Pillow joins them, each time copying all
        raise _refusal("very many EXIF blocks")
    if kind == "JPEG" and _jpeg_scans(data) > MAX_JPEG_SCANS:
        raise _refusal("very many scans")
    if kind == "TIFF":
        _check_tiff(data)


def _jpeg_scans(data: bytes) -> int:
    scans = data.count(b"\xff\xda")
    if scans <= MAX_JPEG_SCANS:  # there are no more, and nearly always fewer
        return scans
    scans, position = 0, 2
    for _ in range(MAX_READS):
        marker = _JPEG_MARKER.search(data, position)
        if marker is None or marker[1][0] == _JPEG_END or scans > MAX_JPEG_SCANS:
            return scans
        position = marker.end()
        if marker[1][0] not in _JPEG_ALONE:
            position += int.from_bytes(data[position : position + 2])
        scans += marker[1][0] == _JPEG_SCAN
    raise _refusal("very many parts")


def _check_tiff(data: bytes) -> None:
    """Look at the first directory (TIFF 6.0, section 2); if an entry comes twice, at both."""
    order: Literal["little", "big"] = "little" if data.startswith(b"II") else "big"

    def number(start: int, size: int) -> int:
        return int.from_bytes(data[start : start + size], order)

    first = number(4, 4)
    sides = dict.fromkeys(_TIFF_TILE_SIDES, 1)
    for entry in range(first + 2, first + 2 + 12 * number(first, 2), 12):
        tag, size = number(entry, 2), _TIFF_SIZES.get(number(entry + 2, 2))
        if tag in _TIFF_OFFSETS and number(entry + 4, 4) > MAX_TIFF_PARTS:
            raise _refusal("very many strips or tiles")
        if tag in sides:
            sides[tag] = max(sides[tag], number(entry + 8, size) if size else MAX_TIFF_TILE_PIXELS + 1)
    if math.prod(sides.values()) > MAX_TIFF_TILE_PIXELS:
        raise _refusal("very large tiles")


def _refusal(what: str) -> UndecodableImage:
    return UndecodableImage(f"This image is made of {what}; decoding it would take too long. Save it again.")
