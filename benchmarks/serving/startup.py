"""From the start of the process until it takes work, and what it then holds in memory."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from benchmarks.harness import environment
from benchmarks.harness.report import Figure, Measurement, machine, repeat
from benchmarks.harness.server import check, classify, serving
from benchmarks.harness.workload import Workload

SECONDS, MEGABYTES, STORE_MB = 5.0, 500.0, 75.0
_MB = 1e6


def measure(work: Workload, lock: Path | None, cache: Path, rounds: int) -> Measurement:
    """Start the server several times, and ask it once for each picture.

    Args:
        work: what is served.
        lock: whose environment it runs in; none means this process's.
        cache: where environments and stores are kept.
        rounds: starts that are counted; one before them warms the disk's cache.
    """
    facts = work.facts | machine()
    python = environment.python(lock, cache) if lock else Path(sys.executable)
    facts["environment"] = os.path.relpath(lock) if lock else "that of this command"
    requests = classify(work.pictures)

    def once() -> dict[str, float]:
        with serving(work, python) as ours:
            facts["engine"] = ours.engine
            resident = ours.resident_mb
            check(ours.url, requests)
            used = ours.resident_mb
            return {"start": ours.server.start_s, "ready": resident, "used": used}

    once()
    found = repeat(rounds, once)
    store_mb = sum(file.stat().st_size for file in work.store.rglob("*") if file.is_file()) / _MB
    return Measurement(
        f"Start: {work.title}",
        [
            Figure("start to ready", found["start"], "s", at_most=SECONDS),
            Figure("resident when ready", found["ready"], "MB", at_most=MEGABYTES),
            Figure("resident after some requests", found["used"], "MB", at_most=MEGABYTES),
            Figure("the store on disk", [store_mb], "MB", at_most=STORE_MB),
        ],
        facts,
    )
