"""Resources that the idle server holds, from its metrics and from the operating system."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness.report import Figure
from benchmarks.harness.server import ServerUnderTest

MAX_GROWTH_MB = 50.0
_CLOSE_S = 0.1  # time for the server to close the connection of the metrics request
_POLL_S = 0.2


@dataclass(frozen=True)
class ResourceUsage:
    """Resources of a server.

    Attributes:
        in_flight: requests in flight.
        queued: images in the queue.
        files: open files and connections.
        threads: number of threads.
        resident_mb: resident memory.
    """

    in_flight: float
    queued: float
    files: int
    threads: int
    resident_mb: float

    def is_back_to(self, before: ResourceUsage) -> bool:
        """Return True if no work is pending and there are no more files and threads than before."""
        is_idle = self.in_flight <= 0 and self.queued <= 0
        return is_idle and self.files <= before.files and self.threads <= before.threads


def wait_until_idle(
    server: ServerUnderTest, before: ResourceUsage | None = None, timeout_s: float = 20
) -> ResourceUsage:
    """Wait until no work is pending and the server holds no more than before; return its usage then.

    Args:
        server: to observe.
        before: earlier usage; None to wait only for pending work.
        timeout_s: longest wait; the usage at the timeout is returned.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        usage = _measure_usage(server)
        if usage.is_back_to(before or usage) or time.monotonic() > deadline:
            return usage
        time.sleep(_POLL_S)


def pending_figures(after: ResourceUsage) -> list[Figure]:
    """Return the work that is still pending after the load."""
    return [
        Figure("requests in flight at the end", [after.in_flight], at_most=0),
        Figure("images in the queue at the end", [after.queued], at_most=0),
    ]


def leak_figures(before: ResourceUsage, after: ResourceUsage) -> list[Figure]:
    """Return leaked files and threads; `before` must be measured after a warm-up that starts all threads."""
    return [
        Figure("leaked files and connections", [after.files - before.files], at_most=0),
        Figure("leaked threads", [after.threads - before.threads], at_most=0),
    ]


def growth_figures(before: ResourceUsage, after: ResourceUsage) -> list[Figure]:
    """Return the growth of resident memory."""
    return [
        Figure("resident before", [before.resident_mb], "MB"),
        Figure("resident after", [after.resident_mb], "MB"),
        Figure("growth", [after.resident_mb - before.resident_mb], "MB", at_most=MAX_GROWTH_MB),
    ]


def _measure_usage(server: ServerUnderTest) -> ResourceUsage:
    in_flight, queued = server.metric("classifier_requests_in_flight"), server.metric("classifier_queue_depth")
    time.sleep(_CLOSE_S)
    process = Path("/proc", str(server.server_process.process.pid))
    files, threads = (sum(1 for _ in (process / kind).iterdir()) for kind in ("fd", "task"))
    return ResourceUsage(in_flight, queued, files, threads, server.resident_mb)
