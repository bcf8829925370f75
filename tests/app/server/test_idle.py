"""The idle detector, and the memory that trimming the heap returns to the system."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest
from hypothesis import example, given
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
    libc.malloc(100_000)  # stays allocated, after the large block
for block in large:
    libc.free(block)
print(resident() - before)
trim_heap()
print(resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps freed memory in this way")
def test_trimming_the_heap_returns_freed_memory_to_the_system() -> None:
    command = [sys.executable, "-c", ALLOCATIONS]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    before_trim, after_trim = map(int, result.stdout.split())
    assert before_trim > 100_000_000, "glibc keeps freed memory without a trim"
    assert after_trim < 10_000_000


@given(st.lists(st.integers(0, 3), max_size=40))
@example([0] * 9)
@example([1, *[0] * 4, 1, *[0] * 12, 2, *[0] * 5, 1, *[0] * 6])
def test_server_becomes_idle_once_after_each_period_of_work(requests_between_ticks: list[int]) -> None:
    detector, total, idle_ticks, has_worked = IdleDetector(), 0, 0, False
    for new in requests_between_ticks:
        total += new
        idle_ticks, has_worked = (0, True) if new else (idle_ticks + 1, has_worked)
        became_idle = detector.became_idle(total)
        assert became_idle == (has_worked and idle_ticks == 5)
        has_worked = has_worked and not became_idle
