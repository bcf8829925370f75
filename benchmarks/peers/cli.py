"""`python -m benchmarks peers`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.harness import report as rounds
from benchmarks.harness.workload import Network, Picture, workload
from benchmarks.options import CACHE, Cache, Connections, JsonFile, NetworkOption, Rounds, Seconds
from benchmarks.peers import compare
from benchmarks.peers.contenders import PEERS
from benchmarks.peers.results_log import Records


def measure_peers(
    only: Annotated[list[str] | None, typer.Option(help="A peer that takes part; may be repeated.")] = None,
    network: NetworkOption = Network.LARGE,
    clients: Connections = 32,
    seconds: Seconds = 15,
    repeat: Rounds = 3,
    results: Annotated[Path | None, typer.Option(help="File of finished rounds, which are not measured again.")] = None,
    cache: Cache = CACHE,
    json_file: JsonFile = None,
) -> None:
    """Our server beside LitServe, BentoML, Ray Serve and mosec, each in two forms. Resumable: run it again."""
    names = [peer.folder for peer in PEERS]
    if unknown := set(only or ()) - set(names):
        raise typer.BadParameter(f"{min(unknown)} is no peer; there are {', '.join(names)}", param_hint="--only")
    work = workload(network, Picture.WEB, cache)
    settings = {"store": work.fingerprint, "connections": clients, "seconds": seconds, "machine": rounds.processor()}
    records = Records(results or cache / "peers.jsonl", settings)
    chosen = [peer for peer in PEERS if peer.folder in (only or names)]
    run = compare.Run(work, clients, seconds, repeat, records, say=typer.echo)
    rounds.report(compare.measure(run, chosen, cache), json_file)
