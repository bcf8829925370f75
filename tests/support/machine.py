"""Repetition of time measurements that other processes of the machine have disturbed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from tests.support.decode_worker import children

T = TypeVar("T")
_CPU_FIELDS = 8  # of the first line of /proc/stat; the fields after them are included in the first two
_IDLE_FIELDS = (3, 4)  # idle, iowait
_PROCESS_FIELDS = slice(11, 15)  # of /proc/PID/stat after the name: utime, stime, cutime, cstime
_MAX_OTHER_SHARE = 0.1  # of the processor time of the machine


def retry_while_machine_is_busy(measure: Callable[[], T], is_acceptable: Callable[[T], bool], tries: int = 4) -> T:
    """Measure again while the result is not acceptable and other processes used much processor time meanwhile.

    Processes started by the test do not count as others, and nothing of an earlier try is kept. The time used by
    others is unknown without /proc, so the first result counts there.

    Args:
        measure: Runs the whole measurement.
        is_acceptable: Returns True for a result that needs no repetition.
        tries: The maximum number of measurements.

    Returns:
        The last result, acceptable or not.
    """
    while True:
        started, machine_before, test_before = time.monotonic(), _machine_cpu_s(), _process_tree_cpu_s()
        result = measure()
        others_s = _machine_cpu_s() - machine_before - (_process_tree_cpu_s() - test_before)
        available_s = (os.cpu_count() or 1) * (time.monotonic() - started)
        tries -= 1
        if is_acceptable(result) or others_s < _MAX_OTHER_SHARE * available_s or not tries:
            return result


def _machine_cpu_s() -> float:
    """Return the seconds that all processors worked or were taken by the host of a virtual machine (proc(5))."""
    stat = Path("/proc/stat")
    if not stat.is_file():
        return 0.0
    fields = stat.read_text().splitlines()[0].split()[1 : 1 + _CPU_FIELDS]
    return _seconds([ticks for index, ticks in enumerate(fields) if index not in _IDLE_FIELDS])


def _process_tree_cpu_s(pid: int | None = None) -> float:
    """Return the processor seconds of a process (default: this one) and its descendants."""
    pid, total = pid or os.getpid(), 0.0
    with suppress(OSError):  # the process has ended, or there is no /proc
        total += _seconds(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[_PROCESS_FIELDS])
        total += sum(map(_process_tree_cpu_s, children(pid)))
    return total


def _seconds(ticks: list[str]) -> float:
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
