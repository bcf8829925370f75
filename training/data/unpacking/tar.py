"""Members of untrusted tar archives, also compressed by gzip, bzip2 or xz.

`tarfile` reads the headers of a member (long names, pax records, sparse maps) into memory, whatever size they declare,
and at a damaged header it stops as if the archive ended there. Here headers are limited, only regular files without
holes are allowed, and an archive that ends without its end mark is an error.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from training.data.unpacking.budget import UnpackBudget
from training.data.unpacking.member import Member
from training.errors import DatasetError

_CHUNK_BYTES = 256 * 1024
_MAX_HEADER_BYTES = 8 * 1024
"""Of one member; and of the records that hold for all members. A path has at most 4 KiB. The time that `tarfile` takes
grows with the square of it (CVE-2024-6232)."""
_MAX_GLOBAL_RECORDS = 1000
_MAX_REST_BYTES = 1024 * 1024
_COMPRESSIONS = {
    b"\x1f\x8b": gzip.GzipFile,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ": lzma.LZMAFile,
    b"\x5d\0\0": lzma.LZMAFile,
}


def is_tar(file: BinaryIO) -> bool:
    """Return True for a tar archive, and for any file that is compressed as a whole."""
    file.seek(0)
    block = file.read(tarfile.BLOCKSIZE)
    return _is_header(block) or _is_compressed(block)


def tar_members(archive: Path, file: BinaryIO, budget: UnpackBudget) -> Iterator[Member]:
    """Yield the regular files of a tar archive; read the content of each before taking the next.

    Raises:
        DatasetError: a member is a link, a device or sparse, or exceeds the budget.
        Exception: the archive is damaged.
    """
    reader = _Reader(_decompressed(file))
    with tarfile.open(fileobj=cast(BinaryIO, reader), mode="r:") as members:
        while (member := _next(members, reader)) is not None:
            budget.take_files(1)
            if member.isdir():
                continue
            _check(member, archive)
            budget.take_bytes(member.name, member.size)
            reader.seek(member.offset_data)
            yield Member(member.name, reader.content(member.size))
    reader.check_end()


def _is_header(block: bytes) -> bool:
    """Return True for the first header of a tar archive, by its checksum, and for the end mark of an empty one."""
    if block == bytes(tarfile.BLOCKSIZE):
        return True
    try:
        tarfile.TarInfo.frombuf(block, tarfile.ENCODING, "surrogateescape")
    except tarfile.TarError:
        return False
    return True


def _is_compressed(block: bytes) -> bool:
    return block.startswith(tuple(_COMPRESSIONS))


def _decompressed(file: BinaryIO) -> BinaryIO:
    file.seek(0)
    block = file.read(tarfile.BLOCKSIZE)
    file.seek(0)
    if _is_header(block):
        return file
    opened = next(opener for magic, opener in _COMPRESSIONS.items() if block.startswith(magic))
    return cast(BinaryIO, gzip.GzipFile(fileobj=file) if opened is gzip.GzipFile else opened(file))


def _next(members: tarfile.TarFile, reader: _Reader) -> tarfile.TarInfo | None:
    reader.start_header()
    member = members.next()
    members.members = []  # type: ignore[attr-defined]  # or it would keep every member in memory
    records = members.pax_headers
    if len(records) > _MAX_GLOBAL_RECORDS or sum(map(len, records.values())) > _MAX_HEADER_BYTES:
        raise tarfile.ReadError("its global headers are too long")
    return member


def _check(member: tarfile.TarInfo, archive: Path) -> None:
    if not member.isreg():
        raise DatasetError(
            f"{archive} contains a link or device ({member.name!r}). Unpack it yourself if you trust it."
        )
    if member.issparse():
        raise DatasetError(f"{archive} contains a sparse file ({member.name!r}). Pack it again without --sparse.")


class _Reader:
    """A stream of a tar archive that only goes forward, and reads headers within a limit."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._position = stream, 0
        self._header_bytes_left = _MAX_HEADER_BYTES
        self._last = b""

    def start_header(self) -> None:
        """Allow the headers of one more member."""
        self._header_bytes_left = _MAX_HEADER_BYTES

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> None:
        """Skip bytes up to a position."""
        if position < self._position:
            raise tarfile.ReadError("a member has a negative size")
        for _ in self.content(position - self._position):
            pass

    def read(self, size: int) -> bytes:
        """Read a part of a header."""
        if not 0 <= size <= self._header_bytes_left:
            raise tarfile.ReadError(f"the headers of a member declare more than {_MAX_HEADER_BYTES:,} bytes")
        self._header_bytes_left -= size
        self._last = self._stream.read(size)
        self._position += len(self._last)
        return self._last

    def content(self, size: int) -> Iterator[bytes]:
        """Yield the next bytes in pieces; raises EOFError if there are fewer."""
        while size:
            piece = self._stream.read(min(size, _CHUNK_BYTES))
            if not piece:
                raise EOFError("it ends in the middle of a file")
            size -= len(piece)
            self._position += len(piece)
            yield piece

    def check_end(self) -> None:
        """Raise ReadError unless the last header was the end mark, and only zeros follow; gzip checks its checksum."""
        if self._last != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("it is cut off, or one of its headers is damaged")
        rest = _MAX_REST_BYTES
        while rest > 0 and (piece := self._stream.read(min(rest, _CHUNK_BYTES))):
            rest -= len(piece)
            if piece.strip(b"\0"):
                raise tarfile.ReadError("one of its headers is damaged, or several archives were joined")
