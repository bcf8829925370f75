"""Start of the server: time until it is ready, and its memory."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.harness.environment import environment_python
from benchmarks.harness.report import Figure, Measurement, machine_facts, run_rounds
from benchmarks.harness.scenario import Scenario
from benchmarks.harness.server import check_answers, classify_requests, serve
from benchmarks.harness.workload import Workload, make_workload
from benchmarks.options import (
    DEFAULT_CACHE,
    CacheOption,
    ImageSize,
    InputSize,
    NetworkOption,
    RoundsOption,
)

MAX_START_S, MAX_RESIDENT_MB, MAX_STORE_MB = 5.0, 500.0, 75.0
_MB = 1e6


def run(
    network: NetworkOption = InputSize.SHIPPED,
    lock: Annotated[
        Path | None, typer.Option(help="Lock file; the server runs in an environment made from it.")
    ] = None,
    rounds: RoundsOption = 5,
    cache: CacheOption = DEFAULT_CACHE,
) -> Measurement:
    """Time from the start of the process until the server is ready, and its memory."""
    return measure(make_workload(network, ImageSize.WEB, cache), lock, cache, rounds)


SCENARIO = Scenario("start", run)


def measure(workload: Workload, lock: Path | None, cache: Path, rounds: int) -> Measurement:
    """Start the server repeatedly, and classify each image once.

    Args:
        workload: to serve.
        lock: of the environment that the server runs in; None for this process's environment.
        cache: folder of environments.
        rounds: starts to measure; one more before them warms up the disk cache.
    """
    facts = workload.facts | machine_facts()
    python = environment_python(lock, cache) if lock else Path(sys.executable)
    facts["environment"] = os.path.relpath(lock) if lock else "that of this command"
    requests = classify_requests(workload.images)

    def measure_once() -> dict[str, float]:
        with serve(workload, python) as server:
            facts["engine"] = server.engine
            ready_mb = server.resident_mb
            check_answers(server.url, requests)
            return {"start": server.server_process.start_s, "ready": ready_mb, "used": server.resident_mb}

    measure_once()
    values = run_rounds(rounds, measure_once)
    store_mb = sum(file.stat().st_size for file in workload.store.rglob("*") if file.is_file()) / _MB
    return Measurement(
        f"Start: {workload.title}",
        [
            Figure("start to ready", values["start"], "s", at_most=MAX_START_S),
            Figure("resident when ready", values["ready"], "MB", at_most=MAX_RESIDENT_MB),
            Figure("resident after some requests", values["used"], "MB", at_most=MAX_RESIDENT_MB),
            Figure("model store on disk", [store_mb], "MB", at_most=MAX_STORE_MB),
        ],
        facts,
    )
