"""Control of glibc's allocator: keep freed memory for reuse, or return it to the operating system."""

from __future__ import annotations

import ctypes
import functools
import platform

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # parameter numbers of mallopt(3), from malloc.h
_THRESHOLD_BYTES = 1 << 30


def trim_heap() -> None:
    """Return free heap memory to the operating system (malloc_trim(3)); do nothing without glibc.

    It takes milliseconds, so call it while idle.
    """
    if libc := _glibc():
        libc.malloc_trim(0)


def keep_freed_memory() -> None:
    """Keep freed blocks of up to 1 GiB for reuse until `trim_heap` is called; do nothing without glibc."""
    if libc := _glibc():
        libc.mallopt(_M_TRIM_THRESHOLD, _THRESHOLD_BYTES)
        libc.mallopt(_M_MMAP_THRESHOLD, _THRESHOLD_BYTES)


@functools.cache
def _glibc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
