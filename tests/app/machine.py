"""Time that others took of this machine: what was measured meanwhile is measured again, whole."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tests.app.raw_http import cpu_s

T = TypeVar("T")
_IDLE = (3, 4)  # idle, and idle while a disk works
_TIMES = 8  # what comes after them is part of the first two
_OTHERS = 0.1  # of the machine


def undisturbed(address: str, measure: Callable[[], T], holds: Callable[[T], bool], tries: int = 4) -> T:
    """Measure, and again where it does not hold and others than server and test had a tenth of the machine.

    Nothing of an earlier try is kept. On a machine without /proc nobody can tell, and the first one counts.
    """
    while True:
        began, before, own = time.monotonic(), _busy_s(), cpu_s(address) + time.process_time()
        found = measure()
        others = _busy_s() - before - (cpu_s(address) + time.process_time() - own)
        is_quiet = others < _OTHERS * (os.cpu_count() or 1) * (time.monotonic() - began)
        tries -= 1
        if holds(found) or is_quiet or not tries:
            return found


def _busy_s() -> float:
    """Seconds that all processors worked, or were taken away by a host (proc(5))."""
    stat = Path("/proc/stat")
    if not stat.is_file():
        return 0.0
    times = stat.read_text().splitlines()[0].split()[1 : 1 + _TIMES]
    return sum(int(each) for index, each in enumerate(times) if index not in _IDLE) / os.sysconf("SC_CLK_TCK")
