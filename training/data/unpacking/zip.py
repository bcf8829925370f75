"""Members of untrusted zip archives. A damaged entry is the error of this entry only."""

from __future__ import annotations

import errno
import zipfile
from collections.abc import Iterator
from typing import BinaryIO

from models.file_names import zip_entry_name
from models.zip_directory import DirectoryBudget, ZipDirectoryTooLarge, check_directory
from training.data.unpacking.budget import UnpackBudget
from training.data.unpacking.member import DamagedMember, Member

_MAX_DIRECTORY_BYTES = 256 * 1024 * 1024
_ENCRYPTED_FLAG = 0x1  # APPNOTE.TXT 6.3.10, 4.4.4, bit 0
_MAX_RATIOS = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: 1032}  # https://zlib.net/zlib_tech.html
"""Methods that are read, and how many bytes a packed byte can hold. `zipfile` decompresses bzip2 and LZMA without a
limit on the result: 4 KiB of packed zeros take gigabytes of memory."""

_CHUNK_BYTES = 256 * 1024


def zip_members(file: BinaryIO, budget: UnpackBudget) -> Iterator[Member]:
    """Yield the files of a zip archive; read the content of each before taking the next.

    Raises:
        DatasetError: the archive exceeds the budget.
        BadZipDirectory: its directory is damaged.
    """
    try:
        check_directory(file, DirectoryBudget(budget.files_left, _MAX_DIRECTORY_BYTES))
    except ZipDirectoryTooLarge as error:
        raise budget.too_many_files(str(error)) from error
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            budget.take_files(1)
            name = zip_entry_name(entry)
            if not name.endswith("/"):
                budget.take_bytes(name, entry.file_size if _is_readable(entry) else 0)
                yield Member(name, _content(archive, entry))  # of which zipfile yields no more than `file_size`


def _content(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    try:
        if not _is_readable(entry):
            raise zipfile.BadZipFile("another method, or sizes that do not match")
        with archive.open(entry) as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk
    except Exception as error:  # zipfile raises nearly any exception on damaged entries
        if _is_of_the_disk(error):
            raise
        raise DamagedMember(_reason(entry)) from error


def _is_readable(entry: zipfile.ZipInfo) -> bool:
    """Return False for another method, or if an entry declares more bytes than its packed bytes can hold."""
    ratio = _MAX_RATIOS.get(entry.compress_type)
    return ratio is not None and entry.file_size <= ratio * entry.compress_size


def _is_of_the_disk(error: Exception) -> bool:
    """Return True if the archive itself cannot be read; a damaged offset is an OSError too, for an invalid argument."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno not in (None, errno.EINVAL))


def _reason(entry: zipfile.ZipInfo) -> str:
    if entry.flag_bits & _ENCRYPTED_FLAG:
        return "is encrypted in the archive"
    if entry.compress_type not in _MAX_RATIOS:
        return "is not packed by the usual method (deflate) in the archive"
    return "is damaged in the archive"
