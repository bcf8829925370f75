"""What a process keeps of large blocks that it has freed."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from tests.app.processes import ROOT

COUNT, BYTES = 8, 20_000_000
ALLOCATIONS = f"""
import ctypes, sys
from pathlib import Path
from app.allocator import keep_little

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
if sys.argv[1] == "set":
    keep_little()
libc.free(libc.malloc({BYTES}))
before, large = resident(), []
for _ in range({COUNT}):
    large.append(libc.malloc({BYTES}))
    ctypes.memset(large[-1], 1, {BYTES})
    libc.malloc(100_000)  # stays, behind the large one
for block in large:
    libc.free(block)
print(resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left as they are")
def test_large_blocks_go_back_when_they_are_freed() -> None:
    assert kept("as it is") > 100_000_000, "glibc by itself keeps them"
    assert kept("set") < 10_000_000


def kept(how: str) -> int:
    command = [sys.executable, "-c", ALLOCATIONS, how]
    return int(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
