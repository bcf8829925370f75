"""`python -m benchmarks`: measure what this service claims about its speed."""

from __future__ import annotations

import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.endurance.cli import measure_disconnects, measure_restarts, measure_soak
from benchmarks.harness import images as pictures
from benchmarks.harness import report as rounds
from benchmarks.harness.server import started
from benchmarks.harness.workload import Network, Picture, workload
from benchmarks.load import closed_loop
from benchmarks.load.closed_loop import WrkMissing
from benchmarks.offline import classify_folder as folder
from benchmarks.offline import engine, extraction, fit
from benchmarks.options import (
    CACHE,
    Cache,
    Connections,
    JsonFile,
    NetworkOption,
    PictureOption,
    Rounds,
    Seconds,
    Side,
    StoreOption,
)
from benchmarks.peers.cli import measure_peers
from benchmarks.peers.measure import WrongAnswers
from benchmarks.serving import batch_request as batch
from benchmarks.serving import cancellation as cancel
from benchmarks.serving import connections, latency, memory, overload, throughput
from benchmarks.serving import many_heads as heads
from benchmarks.serving import startup as start
from models.artifacts.store import DEFAULT_STORE
from models.offline.predict import BATCH

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

_WITHOUT_WRK = ("batch", "folder", "extraction", "fit", "engine", "start", "soak", "disconnects", "restarts")


@app.callback(help=__doc__)
def look_for_wrk(context: typer.Context) -> None:
    """What is missing is said before anything is made."""
    if context.invoked_subcommand not in _WITHOUT_WRK:
        closed_loop.wrk()


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
        address = url or running.enter_context(started(store)).url
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


@app.command("extraction")
def measure_extraction(
    data: Annotated[
        Path | None, typer.Option(help="A dataset, folder or archive; by default pictures are drawn.")
    ] = None,
    count: Annotated[int, typer.Option(min=2 * BATCH, help="Pictures, or at most so many of the dataset.")] = 12_000,
    repeat: Rounds = 3,
    side: Side = 32,
    model: Annotated[str, typer.Option(help="NAME or NAME@VERSION of a classifier.")] = "cifar10",
    store: StoreOption = DEFAULT_STORE,
    json_file: JsonFile = None,
) -> None:
    """Features from class folders and from TFRecord shards beside the bare network, and the memory of both."""
    with tempfile.TemporaryDirectory() as made:
        if data is None:
            extraction.draw(Path(made), count, side)
        else:
            extraction.choose(data, Path(made), count)
        measured = extraction.measure(Path(made), store.resolve(), model, repeat)
    rounds.report(measured, json_file)


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


@app.command("engine")
def measure_engine(
    network: NetworkOption = Network.LARGE, repeat: Rounds = 3, cache: Cache = CACHE, json_file: JsonFile = None
) -> None:
    """The engine that serves beside Keras's predict_on_batch, each at its best batch."""
    work = workload(network, Picture.WEB, cache)
    rounds.report(engine.measure(work.store, work.model, repeat), json_file)


@app.command("throughput")
def measure_throughput(
    network: NetworkOption = Network.LARGE,
    picture: PictureOption = Picture.WEB,
    clients: Connections = 32,
    seconds: Seconds = 10,
    repeat: Rounds = 3,
    cache: Cache = CACHE,
    json_file: JsonFile = None,
) -> None:
    """What is served beside the bound that follows from the costs of decoding, network and head."""
    rounds.report(throughput.measure(workload(network, picture, cache), clients, seconds, repeat), json_file)


@app.command("latency")
def measure_latency(
    network: NetworkOption = Network.LARGE,
    picture: PictureOption = Picture.WEB,
    seconds: Seconds = 10,
    repeat: Rounds = 3,
    cache: Cache = CACHE,
    json_file: JsonFile = None,
) -> None:
    """One client that waits for each answer, beside decoding, engine and head alone."""
    rounds.report(latency.measure(workload(network, picture, cache), seconds, repeat), json_file)


@app.command("connections")
def measure_connections(
    network: NetworkOption = Network.LARGE,
    picture: PictureOption = Picture.WEB,
    most: Annotated[int, typer.Option(min=1, help="Connections to go up to, doubling from 1.")] = 512,
    seconds: Seconds = 8,
    repeat: Rounds = 3,
    cache: Cache = CACHE,
    json_file: JsonFile = None,
) -> None:
    """Throughput from one connection to 512."""
    work = workload(network, picture, cache)
    rounds.report(connections.measure(work, seconds, repeat, connections.up_to(most)), json_file)


@app.command("heads")
def measure_heads(
    clients: Connections = 32,
    seconds: Seconds = 8,
    repeat: Rounds = 3,
    cache: Cache = CACHE,
    json_file: JsonFile = None,
) -> None:
    """Twenty classifiers on one extractor beside a single one."""
    work = workload(Network.LARGE, Picture.WEB, cache)
    rounds.report(heads.measure(work, cache, clients, seconds, repeat), json_file)


@app.command("overload")
def measure_overload(
    network: NetworkOption = Network.LARGE,
    picture: PictureOption = Picture.WEB,
    clients: Connections = 32,
    deadline_ms: Annotated[int, typer.Option(min=1, help="That every request has.")] = 1000,
    seconds: Seconds = 10,
    repeat: Rounds = 3,
    cache: Cache = CACHE,
    json_file: JsonFile = None,
) -> None:
    """Twice and four times as many requests a second as can be answered."""
    work = workload(network, picture, cache)
    rounds.report(overload.measure(work, clients, seconds, deadline_ms, repeat), json_file)


@app.command("cancel")
def measure_cancel(
    network: NetworkOption = Network.LARGE,
    picture: PictureOption = Picture.WEB,
    clients: Connections = 128,
    seconds: Seconds = 10,
    repeat: Rounds = 3,
    cache: Cache = CACHE,
    json_file: JsonFile = None,
) -> None:
    """Half of the clients hang up at random."""
    rounds.report(cancel.measure(workload(network, picture, cache), clients, seconds, repeat), json_file)


@app.command("memory")
def measure_memory(
    network: NetworkOption = Network.SHIPPED,
    requests: Annotated[int, typer.Option(min=1, help="That are counted.")] = 20_000,
    clients: Connections = 32,
    cache: Cache = CACHE,
    json_file: JsonFile = None,
) -> None:
    """Whether the server grows with the requests that it has answered."""
    rounds.report(memory.measure(workload(network, Picture.WEB, cache), requests, clients), json_file)


@app.command("start")
def measure_start(
    network: NetworkOption = Network.SHIPPED,
    lock: Annotated[Path | None, typer.Option(help="Requirements of an environment to start it in.")] = None,
    repeat: Rounds = 5,
    cache: Cache = CACHE,
    json_file: JsonFile = None,
) -> None:
    """From the start of the process until it takes work, and its memory."""
    rounds.report(start.measure(workload(network, Picture.WEB, cache), lock, cache, repeat), json_file)


app.command("peers")(measure_peers)
app.command("soak")(measure_soak)
app.command("disconnects")(measure_disconnects)
app.command("restarts")(measure_restarts)


def main() -> None:
    """The command line; what is missing or wrong is said in one line."""
    try:
        app()
    except (WrkMissing, WrongAnswers) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
