"""Check the central directory of a zip before `zipfile` parses it (APPNOTE.TXT 6.3.10, 4.3.12 to 4.3.16).

`zipfile` creates an object for each entry, and copies an extra field once for each of the fields in it, which takes
time that grows with the square of its length. This check reads the same bytes in constant time per entry, so that what
exceeds a limit is rejected before it costs anything.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

_END = struct.Struct("<4s4H2LH")
_END_SIGNATURE = b"PK\x05\x06"
_LOCATOR_64 = struct.Struct("<4sLQL")
_LOCATOR_64_SIGNATURE = b"PK\x06\x07"
_END_64 = struct.Struct("<4sQ2H2L4Q")
_END_64_SIGNATURE = b"PK\x06\x06"
_ENTRY_SIGNATURE = b"PK\x01\x02"
_ENTRY_BYTES = 46
_LENGTHS = struct.Struct("<3H")  # of the name, the extra field and the comment
_LENGTHS_OFFSET = 28
_MAX_COMMENT = 0xFFFF
_MAX_EXTRA = 1024  # bytes; the timestamps, owners, names and sizes that programs write take less than 200
_MAX_FIELDS = 16  # in an extra field; programs write up to about 6
_FIELD = struct.Struct("<2H")  # kind and length


class BadZipDirectory(Exception):
    """The file is not a zip, or its directory is damaged or crafted."""


class ZipDirectoryTooLarge(BadZipDirectory):
    """The directory has more entries or bytes than are left of a limit."""


@dataclass
class DirectoryBudget:
    """What is left for the directories of several zips, such as those of one request. Not thread-safe."""

    entries: int
    bytes: int

    def take(self, entries: int, size: int) -> None:
        """Subtract the entries and bytes of a directory; raises ZipDirectoryTooLarge if too few are left."""
        if entries > self.entries:
            raise ZipDirectoryTooLarge(f"more than {self.entries:,} entries")
        if size > self.bytes:
            raise ZipDirectoryTooLarge(f"a directory of more than {self.bytes:,} bytes")
        self.entries -= entries
        self.bytes -= size


@dataclass(frozen=True)
class _Directory:
    """Where a directory lies in its file, and how many entries it declares, modulo 2**16 except in a zip64."""

    start: int
    size: int
    entries: int
    is_zip64: bool


def check_directory(file: BinaryIO, budget: DirectoryBudget) -> int:
    """Return the number of entries of a zip, and subtract its directory from a budget.

    The directory that is checked is the one that `zipfile` uses: that of the last end record.

    Raises:
        BadZipDirectory: there is no directory, it is incomplete or has another number of entries than declared, or an
            extra field is too long.
        ZipDirectoryTooLarge: it exceeds the budget.
    """
    directory = _locate(file)
    budget.take(0, directory.size)
    file.seek(directory.start)
    count = _count_entries(file.read(directory.size), directory, budget.entries)
    budget.take(count, 0)
    return count


def _locate(file: BinaryIO) -> _Directory:
    file_size = file.seek(0, 2)
    tail_start = max(file_size - _END.size - _MAX_COMMENT, 0)
    file.seek(tail_start)
    tail = file.read()
    offset = _find_end(tail)
    if offset < 0 or len(tail) - offset < _END.size:
        raise BadZipDirectory("the end of a zip is missing")
    _, _, _, _, entries, size, _, _ = _END.unpack_from(tail, offset)
    end = tail_start + offset
    return _locate_64(file, end) or _Directory(_not_negative(end - size), size, entries, is_zip64=False)


def _find_end(tail: bytes) -> int:
    """Return where `zipfile` finds the end record: without a comment at the very end, else the last signature."""
    last = len(tail) - _END.size
    if last >= 0 and tail.startswith(_END_SIGNATURE, last) and tail.endswith(b"\0\0"):
        return last
    return tail.rfind(_END_SIGNATURE)


def _locate_64(file: BinaryIO, end: int) -> _Directory | None:
    """Return the directory of a zip64, or None if the end record at `end` has no zip64 locator before it.

    The zip64 end record must be right before its locator and at the offset that this gives: versions of `zipfile`
    differ in which of the two they use.
    """
    locator_start = end - _LOCATOR_64.size
    if locator_start < 0:
        return None
    file.seek(locator_start)
    signature, _, declared_start, _ = _LOCATOR_64.unpack(file.read(_LOCATOR_64.size))
    if signature != _LOCATOR_64_SIGNATURE:
        return None
    start = _not_negative(locator_start - _END_64.size)
    file.seek(start)
    signature, _, _, _, _, _, _, entries, size, _ = _END_64.unpack(file.read(_END_64.size))
    if signature != _END_64_SIGNATURE or declared_start != start:
        raise BadZipDirectory("its zip64 end record is not where it is declared to be")
    return _Directory(_not_negative(start - size), size, entries, is_zip64=True)


def _not_negative(offset: int) -> int:
    if offset < 0:
        raise BadZipDirectory("its directory would begin before the file")
    return offset


def _count_entries(data: bytes, directory: _Directory, max_entries: int) -> int:
    """Walk over the entries of a directory and return their number, at most one more than `max_entries`."""
    offset = count = 0
    while offset < len(data) and count <= max_entries:
        if len(data) - offset < _ENTRY_BYTES or not data.startswith(_ENTRY_SIGNATURE, offset):
            raise BadZipDirectory("its directory is damaged")
        name, extra, comment = _LENGTHS.unpack_from(data, offset + _LENGTHS_OFFSET)
        if extra > _MAX_EXTRA:
            raise BadZipDirectory(f"an entry has an extra field of more than {_MAX_EXTRA:,} bytes")
        if extra:
            _check_fields(data, offset + _ENTRY_BYTES + name, extra)
        offset += _ENTRY_BYTES + name + extra + comment
        count += 1
    if count > max_entries:
        return count
    # Programs that know no zip64 count modulo 2**16.
    if offset != directory.size or directory.entries != (count if directory.is_zip64 else count & 0xFFFF):
        raise BadZipDirectory("its directory is incomplete")
    return count


def _check_fields(data: bytes, start: int, size: int) -> None:
    """Raise BadZipDirectory if an extra field has too many fields."""
    end, count = min(start + size, len(data)), 0
    while start + _FIELD.size <= end:
        start += _FIELD.size + _FIELD.unpack_from(data, start)[1]
        count += 1
        if count > _MAX_FIELDS:
            raise BadZipDirectory(f"an entry has an extra field of more than {_MAX_FIELDS} parts")
