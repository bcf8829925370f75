"""A batch request with 32 images, compared with 32 single requests in flight."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Annotated

import typer

from benchmarks.harness.images import generate_jpegs
from benchmarks.harness.report import Measurement, Variant, compare
from benchmarks.harness.scenario import Scenario
from benchmarks.harness.server import classify_requests, serve_store
from benchmarks.load.request import multipart_request, send_all
from benchmarks.options import RoundsOption, SideOption, StoreOption
from models.artifacts.store import DEFAULT_STORE

IMAGES = 32
MIN_RATIO = 0.95


def run(
    url: Annotated[str | None, typer.Option(help="Address of a running server; by default one is started.")] = None,
    requests: Annotated[int, typer.Option(min=1, help="Batch requests in each round, of 32 images each.")] = 40,
    rounds: RoundsOption = 7,
    side: SideOption = 256,
    store: StoreOption = DEFAULT_STORE,
) -> Measurement:
    """A batch request with 32 images, compared with 32 single requests in flight."""
    with ExitStack() as stack:
        address = url or stack.enter_context(serve_store(store)).url
        return measure(address, generate_jpegs(IMAGES, side), rounds, requests)


SCENARIO = Scenario("batch", run)


def measure(url: str, images: Sequence[bytes], rounds: int, request_count: int) -> Measurement:
    """Compare both on a running server.

    Args:
        url: address of the server.
        images: 32 encoded images.
        rounds: number of rounds; in each both ways are measured once.
        request_count: batch requests in each round; the same number of images is sent in single requests.

    Raises:
        RuntimeError: an image was not classified.
    """
    batch_request = multipart_request("/v1/classify/batch", images)
    single_requests = classify_requests(images)

    def measure_batches() -> float:
        seconds, bodies = send_all(url, [batch_request] * request_count, in_flight=1)
        _check_predictions([item.get("result", item) for body in bodies for item in json.loads(body)["items"]])
        return request_count * IMAGES / seconds

    def measure_singles() -> float:
        seconds, bodies = send_all(url, single_requests * request_count, in_flight=IMAGES)
        _check_predictions([json.loads(body) for body in bodies])
        return request_count * IMAGES / seconds

    for warm_up in (measure_batches, measure_singles):
        warm_up()
    return compare(
        f"{IMAGES} images at a time, {request_count * IMAGES} in each round",
        Variant("in one request (/v1/classify/batch)", measure_batches),
        Variant(f"in {IMAGES} requests (/v1/classify)", measure_singles),
        rounds,
        MIN_RATIO,
        {"image": f"JPEG, {sum(map(len, images)) / len(images) / 1000:.1f} kB"},
    )


def _check_predictions(results: Sequence[dict[str, object]]) -> None:
    """Raise RuntimeError if a result has no prediction: errors are faster than classifications."""
    for result in results:
        if not result.get("predictions"):
            raise RuntimeError(f"The result has no prediction: {result}")
