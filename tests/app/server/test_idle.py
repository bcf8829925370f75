"""What a process keeps of large blocks that it has freed."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.server.idle import IdleDetector
from tests.support.paths import ROOT

COUNT, BYTES = 8, 20_000_000
ALLOCATIONS = f"""
import ctypes
from pathlib import Path
from models.malloc import trim_heap

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
libc.free(libc.malloc({BYTES}))
before, large = resident(), []
for _ in range({COUNT}):
    large.append(libc.malloc({BYTES}))
    ctypes.memset(large[-1], 1, {BYTES})
    libc.malloc(100_000)  # stays, behind the large one
for block in large:
    libc.free(block)
print(resident() - before)
trim_heap()
print(resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left as they are")
def test_what_is_free_goes_back_to_the_system() -> None:
    command = [sys.executable, "-c", ALLOCATIONS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    kept, left = map(int, done.stdout.split())
    assert kept > 100_000_000, "glibc by itself keeps it"
    assert left < 10_000_000


@given(st.lists(st.integers(0, 3), max_size=40))
def test_a_server_comes_to_rest_once_after_each_time_of_work(requests_between_looks: list[int]) -> None:
    rest, total, quiet, worked = IdleDetector(), 0, 0, False
    for new in requests_between_looks:
        total += new
        quiet, worked = (0, True) if new else (quiet + 1, worked)
        begins = rest.became_idle(total)
        assert begins == (worked and quiet == 5)
        worked = worked and not begins
