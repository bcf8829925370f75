"""Number of usable CPU cores, and bfloat16 support."""

from __future__ import annotations

from pathlib import Path

import joblib

CPUINFO = Path("/proc/cpuinfo")
_BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16"}


def available_cores() -> int:
    """Return the number of cores that this process may use: limited by CPU affinity and cgroup quota."""
    return int(joblib.cpu_count())


def has_bfloat16(cpuinfo: Path = CPUINFO) -> bool:
    """Return whether the CPU has bfloat16 instructions, according to Linux; False on other systems."""
    if not cpuinfo.is_file():
        return False
    flags = [line for line in cpuinfo.read_text().splitlines() if line.startswith("flags")]
    return bool(flags) and bool(_BFLOAT16_FLAGS & set(flags[0].split()))
