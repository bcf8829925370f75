"""What the server holds when nobody asks it: as its metrics say, and as the system does."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness.report import Figure
from benchmarks.harness.server import Serving

GROWTH_MB = 50.0
_CLOSE_S = 0.1  # until a connection that is over is closed on both sides
_POLL_S = 0.2


@dataclass(frozen=True)
class Held:
    """Requests under way, pictures in the queue, open files and connections, threads, resident memory."""

    in_flight: float
    queued: float
    files: int
    threads: int
    resident_mb: float

    def no_more_than(self, before: Held) -> bool:
        """Whether it has come back to what it was before; of memory this says nothing."""
        ours, theirs = (self.in_flight, self.queued, self.files, self.threads), (0, 0, before.files, before.threads)
        return all(now <= then for now, then in zip(ours, theirs, strict=True))


def at_rest(ours: Serving, before: Held | None = None, patience_s: float = 20) -> Held:
    """Wait until it has finished everything and holds no more than before, but no longer than `patience_s`."""
    until = time.monotonic() + patience_s
    while True:
        now = _held(ours)
        if now.no_more_than(before or now) or time.monotonic() > until:
            return now
        time.sleep(_POLL_S)


def pending(after: Held) -> list[Figure]:
    """What is under way when all that was asked is answered, which should be nothing."""
    return [
        Figure("requests in flight at the end", [after.in_flight], at_most=0),
        Figure("pictures in the queue at the end", [after.queued], at_most=0),
    ]


def leaked(before: Held, after: Held) -> list[Figure]:
    """What is held besides; to be compared when every thread is there that will ever be."""
    return [
        Figure("more open files and connections than before", [after.files - before.files], at_most=0),
        Figure("more threads than before", [after.threads - before.threads], at_most=0),
    ]


def growth(before: Held, after: Held) -> list[Figure]:
    """Of resident memory."""
    return [
        Figure("resident before", [before.resident_mb], "MB"),
        Figure("resident after", [after.resident_mb], "MB"),
        Figure("growth", [after.resident_mb - before.resident_mb], "MB", at_most=GROWTH_MB),
    ]


def _held(ours: Serving) -> Held:
    in_flight, queued = ours.metric("classifier_requests_in_flight"), ours.metric("classifier_queue_depth")
    time.sleep(_CLOSE_S)
    process = Path("/proc", str(ours.server.process.pid))
    files, threads = (sum(1 for _ in (process / kind).iterdir()) for kind in ("fd", "task"))
    return Held(in_flight, queued, files, threads, ours.resident_mb)
