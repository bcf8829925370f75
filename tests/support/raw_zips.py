"""Zips that `zipfile` would not write, assembled from their records (APPNOTE.TXT 4.3)."""

from __future__ import annotations

import struct
from collections.abc import Sequence

_ENTRY = "<4s4B4HL2L5H2L"
_END = "<4s4H2LH"
EMPTY_FIELDS = struct.pack("<HH", 0x9999, 0)
"""An extra field of no bytes: `zipfile` copies all that follows it."""


def directory_entry(name: bytes, extra: bytes = b"") -> bytes:
    """Return the directory's record of an empty file."""
    lengths = (len(name), len(extra), 0)
    return struct.pack(_ENTRY, b"PK\x01\x02", 20, 3, 20, 0, 0, 0, 0, 0x21, 0, 0, 0, *lengths, 0, 0, 0, 0) + name + extra


def end_record(entries: int, size: int, offset: int, comment: bytes = b"") -> bytes:
    return struct.pack(_END, b"PK\x05\x06", 0, 0, entries, entries, size, offset, len(comment)) + comment


def raw_zip(entries: Sequence[bytes], count: int | None = None, comment: bytes = b"") -> bytes:
    """Return a zip with these records in its directory, which says that they are `count`."""
    start, directory = b"PK\x03\x04" + bytes(26), b"".join(entries)
    number = len(entries) & 0xFFFF if count is None else count
    return start + directory + end_record(number, len(directory), len(start), comment)


def raw_zip64(entries: Sequence[bytes], declared_start: int | None = None) -> bytes:
    """Return the same as a zip64, whose locator gives this offset of the end record."""
    start, directory = b"PK\x03\x04" + bytes(26), b"".join(entries)
    end_start, count = len(start) + len(directory), len(entries)
    end_64 = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, len(directory), len(start))
    position = end_start if declared_start is None else declared_start
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, position, 1)
    return start + directory + end_64 + locator + end_record(0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF)


def zip_of_empty_fields() -> bytes:
    """Return a zip of 9.8 MB whose extra fields `zipfile` copies for seconds."""
    return raw_zip([directory_entry(b"f%d/" % number, EMPTY_FIELDS * 16_383) for number in range(149)])


def zip_of_folders(count: int) -> bytes:
    return raw_zip([directory_entry(b"f%d/" % number) for number in range(count)])
