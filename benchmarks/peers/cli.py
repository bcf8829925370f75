"""The command `python -m benchmarks peers`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.harness.report import Measurement, processor_name
from benchmarks.harness.scenario import Scenario
from benchmarks.harness.workload import make_workload
from benchmarks.options import (
    DEFAULT_CACHE,
    CacheOption,
    ConnectionsOption,
    ImageSize,
    InputSize,
    NetworkOption,
    RoundsOption,
    SecondsOption,
)
from benchmarks.peers.compare import PeerBenchmark, measure
from benchmarks.peers.contenders import PEERS
from benchmarks.peers.results_log import ResultsLog


def run(
    only: Annotated[list[str] | None, typer.Option(help="Name of a peer to measure; can be repeated.")] = None,
    network: NetworkOption = InputSize.LARGE,
    connections: ConnectionsOption = 32,
    seconds: SecondsOption = 15,
    rounds: RoundsOption = 3,
    results: Annotated[Path | None, typer.Option(help="File of finished measurements, which are not repeated.")] = None,
    cache: CacheOption = DEFAULT_CACHE,
) -> Measurement:
    """This server compared with LitServe, BentoML, Ray Serve and mosec, each in two setups. Resumable: run it again."""
    names = [peer.folder for peer in PEERS]
    if unknown := set(only or ()) - set(names):
        raise typer.BadParameter(f"unknown peer {min(unknown)}; choose from {', '.join(names)}", param_hint="--only")
    workload = make_workload(network, ImageSize.WEB, cache)
    settings = {
        "store": workload.fingerprint,
        "connections": connections,
        "seconds": seconds,
        "machine": processor_name(),
    }
    log = ResultsLog(results or cache / "peers.jsonl", settings)
    benchmark = PeerBenchmark(workload, connections, seconds, rounds, log, print_line=typer.echo)
    return measure(benchmark, [peer for peer in PEERS if peer.folder in (only or names)], cache)


SCENARIO = Scenario("peers", run, needs_wrk=True)
