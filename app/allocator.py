"""What glibc keeps of memory that was freed: little, of what large pictures needed."""

from __future__ import annotations

import ctypes
import platform

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_MMAP_BYTES = 12 * 2**20
_TRIM_BYTES = 16 * 2**20


def keep_little() -> None:
    """Let blocks of 12 MiB and more go back to the system when they are freed; call it before there are threads.

    By itself glibc takes the first large block that is freed for a reason to keep all later ones, of up to 32 MiB, in
    the heap of each thread, where the smallest thing in use holds what lies below it. Pictures of up to 3 megapixels
    as decoded (4 bytes each) stay below and reuse memory as ever. Does nothing where the C library is another one.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)
    libc.mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES)  # else 128 KiB, once the other is set: every picture would fault anew
