"""How much of the processor is ours."""

from __future__ import annotations

import joblib


def available_cores() -> int:
    """Cores that this process may use: by affinity and cgroup quota, not what the host has."""
    return int(joblib.cpu_count())
