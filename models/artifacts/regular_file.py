"""Reading of files in a folder that somebody else may have written to."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def read_regular_file(path: Path, max_bytes: int) -> bytes:
    """Read a file that is no link, device or FIFO; the latter two could block, or never end.

    Raises:
        OSError: the file is missing, of another kind, larger, or cannot be read.
    """
    _check(os.lstat(path), max_bytes)  # opening a device can already have an effect
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:  # noqa: PTH123 -- a descriptor
        status = os.fstat(descriptor)
        _check(status, max_bytes)  # of the file that is open now
        data = file.read(status.st_size + 1)
    if len(data) > status.st_size:
        raise OSError(errno.EFBIG, "it grows")
    return data


def _check(status: os.stat_result, max_bytes: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file")
    if status.st_size > max_bytes:
        raise OSError(errno.EFBIG, f"it has more than {max_bytes:,} bytes")
