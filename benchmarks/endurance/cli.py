"""`python -m benchmarks soak | disconnects | restarts`: on the shipped store, as people start it."""

from __future__ import annotations

from typing import Annotated

import typer

from benchmarks.endurance import disconnects, restarts, soak
from benchmarks.harness import report as rounds
from benchmarks.harness.workload import Network, Picture, Workload, workload
from benchmarks.options import CACHE, Connections, JsonFile
from models.console.progress import track


def measure_soak(
    minutes: Annotated[float, typer.Option(min=0.1, help="Of load, after a warm-up.")] = 30,
    clients: Connections = 32,
    json_file: JsonFile = None,
) -> None:
    """80 % of what can be answered, with bad input and clients that hang up among it."""
    rounds.report(soak.measure(_shipped(), 60 * minutes, clients, track), json_file)


def measure_disconnects(
    count: Annotated[int, typer.Option(min=30, help="Of clients that hang up.")] = 10_000,
    clients: Annotated[int, typer.Option(min=1, help="At a time.")] = 64,
    json_file: JsonFile = None,
) -> None:
    """Clients that hang up in mid-upload, mid-queue and mid-answer: what is left of them."""
    rounds.report(disconnects.measure(_shipped(), count, clients, track), json_file)


def measure_restarts(
    count: Annotated[int, typer.Option(min=1, help="Of SIGTERMs.")] = 20,
    kills: Annotated[int, typer.Option(min=1, help="Of kill -9.")] = 5,
    clients: Connections = 32,
    json_file: JsonFile = None,
) -> None:
    """SIGTERM and kill -9 at full load: what becomes of requests, of the start after it, and of files."""
    rounds.report(restarts.measure(_shipped(), count, kills, clients, track), json_file)


def _shipped() -> Workload:
    return workload(Network.SHIPPED, Picture.WEB, CACHE)
