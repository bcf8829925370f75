"""What decoding may cost beyond bytes and pixels.

Pillow walks segments, tiles and run lengths in Python, and libjpeg goes over the whole picture for every scan:
20 MB of nothing else would keep a core busy for minutes or hours. Real files stay far below these bounds.
"""

from __future__ import annotations

import re
from io import BytesIO
from typing import Literal

from models.errors import UndecodableImage

MAX_READS = 200_000
MAX_JPEG_SCANS = 100
MAX_EXIF_BLOCKS = 100
MAX_TIFF_PARTS = 50_000

_JPEG_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")  # neither stuffed zeros nor restarts
_JPEG_ALONE = {0x01, 0xD8}  # markers without a length
_JPEG_END = 0xD9
_JPEG_SCAN = 0xDA
_TIFF_OFFSETS = {273, 324}  # of strips, of tiles


class BoundedReader(BytesIO):
    """A file in memory that gives up after very many reads, which only the smallest parts can take."""

    _reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self._reads += 1
        if self._reads > MAX_READS:
            raise _refusal("parts")
        return super().read(size)


def check_structure(data: bytes, kind: str) -> None:
    """Refuse a file whose parts alone would take too long; raises UndecodableImage."""
    if kind == "JPEG" and data.count(b"Exif\x00\x00") > MAX_EXIF_BLOCKS:  # Pillow joins them, each time copying all
        raise _refusal("EXIF blocks")
    if kind == "JPEG" and _jpeg_scans(data) > MAX_JPEG_SCANS:
        raise _refusal("scans")
    if kind == "TIFF" and _tiff_parts(data) > MAX_TIFF_PARTS:
        raise _refusal("strips or tiles")


def _jpeg_scans(data: bytes) -> int:
    scans = data.count(b"\xff\xda")
    if scans <= MAX_JPEG_SCANS:  # there are no more, and nearly always fewer
        return scans
    scans, position = 0, 2
    while (marker := _JPEG_MARKER.search(data, position)) and marker[1][0] != _JPEG_END:
        position = marker.end()
        if marker[1][0] not in _JPEG_ALONE:
            position += int.from_bytes(data[position : position + 2])
        scans += marker[1][0] == _JPEG_SCAN
    return scans


def _tiff_parts(data: bytes) -> int:
    """The most values of an entry that lists offsets, in the first directory (TIFF 6.0, section 2)."""
    order: Literal["little", "big"] = "little" if data.startswith(b"II") else "big"

    def number(start: int, size: int) -> int:
        return int.from_bytes(data[start : start + size], order)

    first = number(4, 4)
    entries = range(first + 2, first + 2 + 12 * number(first, 2), 12)
    return max((number(entry + 4, 4) for entry in entries if number(entry, 2) in _TIFF_OFFSETS), default=0)


def _refusal(what: str) -> UndecodableImage:
    return UndecodableImage(
        f"This image is made of so many {what} that decoding it would take too long. Save it again."
    )
