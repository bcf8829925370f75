"""`python -m benchmarks`: measure what this service claims about its speed."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import batch, fit, folder, pictures, rounds
from models.answers import BATCH
from models.artifacts import DEFAULT_STORE
from tests.app.processes import server

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Rounds = Annotated[int, typer.Option("--rounds", min=1, help="How often each way is measured.")]
Side = Annotated[int, typer.Option(min=8, help="Of the pictures, in pixels.")]
StoreOption = Annotated[Path, typer.Option("--store", help="Folder of the artifacts.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="File for the same as JSON.")]


@app.command("batch")
def measure_batch(
    url: Annotated[str | None, typer.Option(help="A server that runs already; by default one is started.")] = None,
    requests: Annotated[int, typer.Option(min=1, help="Batches of 32 images in each round.")] = 40,
    repeat: Rounds = 7,
    side: Side = 256,
    store: StoreOption = DEFAULT_STORE,
    json_file: JsonFile = None,
) -> None:
    """32 images in one request beside 32 requests in flight, on a server in a process of its own."""
    with ExitStack() as running:
        address = url or running.enter_context(server("app", APP_STORE=str(store.resolve()))).address()
        compared = batch.measure(address, pictures.jpegs(batch.IMAGES, side), repeat, requests)
    rounds.report(compared, json_file)


@app.command("folder")
def measure_folder(
    count: Annotated[int, typer.Option(min=BATCH + 1, help="Pictures in the folder.")] = 5000,
    repeat: Rounds = 3,
    side: Side = 256,
    model: Annotated[str, typer.Option(help="NAME or NAME@VERSION of a classifier.")] = "cifar10",
    store: StoreOption = DEFAULT_STORE,
    json_file: JsonFile = None,
) -> None:
    """`python -m models classify` on a folder of JPEG files beside the bare network on the same pixels."""
    with tempfile.TemporaryDirectory() as made:
        pictures.write(Path(made), count, side)
        compared = folder.measure(Path(made), store.resolve(), model, repeat)
    rounds.report(compared, json_file)


@app.command("fit")
def measure_fit(
    parts: Annotated[int, typer.Option(min=2, help="Of each batch; as many as there are cores.")] = 2,
    size: Annotated[int, typer.Option(min=75, help="Of the images, in pixels.")] = 80,
    steps: Annotated[int, typer.Option(min=1, help="Of 128 images, in each round.")] = 10,
    repeat: Rounds = 3,
    json_file: JsonFile = None,
) -> None:
    """Fitting the shipped network with each batch in parts side by side, beside the same batch in one."""
    try:
        compared = fit.measure(parts, size, steps, repeat)
    except ValueError as error:
        raise typer.BadParameter(f"the recipe's batches do not come out in {parts} parts") from error
    rounds.report(compared, json_file)


if __name__ == "__main__":
    app()
