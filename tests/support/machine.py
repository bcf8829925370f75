"""Time that others took of this machine: what was measured meanwhile is measured again, whole."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from tests.support.decode_worker import children

T = TypeVar("T")
_IDLE = (3, 4)  # idle, and idle while a disk works
_TIMES = 8  # what comes after them is part of the first two
_OWN = slice(11, 15)  # of a process, and of those that it has waited for
_OTHERS = 0.1  # of the machine


def undisturbed(measure: Callable[[], T], holds: Callable[[T], bool], tries: int = 4) -> T:
    """Measure, and again where it does not hold and others than this test had a tenth of the machine.

    What a test has started is the test's own. Nothing of an earlier try is kept. On a machine without /proc nobody
    can tell, and the first one counts.
    """
    while True:
        began, before, own = time.monotonic(), _busy_s(), _own_s()
        found = measure()
        others = _busy_s() - before - (_own_s() - own)
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
    return _seconds([each for index, each in enumerate(times) if index not in _IDLE])


def _own_s(pid: int | None = None) -> float:
    """Seconds of this process, and of all below it."""
    pid, own = pid or os.getpid(), 0.0
    with suppress(OSError):  # it has ended, or there is no /proc
        own += _seconds(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[_OWN])
        own += sum(map(_own_s, children(pid)))
    return own


def _seconds(ticks: list[str]) -> float:
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
