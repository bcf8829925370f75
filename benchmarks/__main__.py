"""`python -m benchmarks`: measure the performance of the server, of the offline tools and of other servers."""

from __future__ import annotations

import sys

import typer

from benchmarks import published
from benchmarks.endurance import disconnects, restarts, soak
from benchmarks.load.closed_loop import WrkMissing
from benchmarks.offline import classify_folder, engine, extraction, fit, scaled_decoding
from benchmarks.peers import cli as peers
from benchmarks.peers.measure import WrongPredictions
from benchmarks.serving import (
    batch_request,
    cancellation,
    connections,
    latency,
    many_heads,
    memory,
    overload,
    recovery,
    startup,
    throughput,
)
from models.errors import ModelsError
from training.errors import TrainingError

SCENARIOS = (
    batch_request.SCENARIO,
    classify_folder.SCENARIO,
    extraction.SCENARIO,
    fit.SCENARIO,
    engine.SCENARIO,
    scaled_decoding.SCENARIO,
    throughput.SCENARIO,
    latency.SCENARIO,
    connections.SCENARIO,
    many_heads.SCENARIO,
    overload.SCENARIO,
    recovery.SCENARIO,
    cancellation.SCENARIO,
    memory.SCENARIO,
    startup.SCENARIO,
    peers.SCENARIO,
    soak.SCENARIO,
    disconnects.SCENARIO,
    restarts.SCENARIO,
)

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
for scenario in SCENARIOS:
    scenario.add_to(app)
app.command("published")(published.print_table)


def main() -> None:
    """Run a command; expected errors end it with one line and exit code 1."""
    try:
        app()
    except (WrkMissing, WrongPredictions, TrainingError, ModelsError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
