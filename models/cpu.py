"""What the processor has for us."""

from __future__ import annotations

from pathlib import Path

import joblib

CPUINFO = Path("/proc/cpuinfo")
_INSTRUCTIONS = {"avx512_bf16", "amx_bf16"}


def available_cores() -> int:
    """Cores that this process may use: by affinity and cgroup quota, not what the host has."""
    return int(joblib.cpu_count())


def has_bfloat16(cpuinfo: Path = CPUINFO) -> bool:
    """Whether the processor multiplies in bfloat16, as Linux lists its flags; elsewhere: no."""
    if not cpuinfo.is_file():
        return False
    flags = [line for line in cpuinfo.read_text().splitlines() if line.startswith("flags")]
    return bool(flags) and bool(_INSTRUCTIONS & set(flags[0].split()))
