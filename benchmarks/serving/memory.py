"""Growth of the server's memory over many requests."""

from __future__ import annotations

from typing import Annotated

import typer

from benchmarks.harness.report import Figure, Measurement, machine_facts
from benchmarks.harness.scenario import Scenario
from benchmarks.harness.server import ServerUnderTest, check_answers, classify_requests, serve
from benchmarks.harness.workload import Workload, generate_images, make_workload
from benchmarks.load import closed_loop
from benchmarks.options import (
    DEFAULT_CACHE,
    CacheOption,
    ConnectionsOption,
    ImageSize,
    InputSize,
    NetworkOption,
)

MAX_GROWTH_MB = 50.0
_WARM_UP_SHARE = 0.1  # of the requests
_LOAD_S = 10.0  # duration of one closed loop; there are as many as the requests need
_SMALL_PER_LARGE = 8


def run(
    network: NetworkOption = InputSize.SHIPPED,
    requests: Annotated[int, typer.Option(min=1, help="Number of requests after the warm-up.")] = 20_000,
    connections: ConnectionsOption = 32,
    cache: CacheOption = DEFAULT_CACHE,
) -> Measurement:
    """Growth of the server's memory over many requests."""
    return measure(make_workload(network, ImageSize.WEB, cache), requests, connections)


SCENARIO = Scenario("memory", run, needs_wrk=True)


def measure(workload: Workload, request_count: int, connections: int, load_s: float = _LOAD_S) -> Measurement:
    """Measure resident memory before and after at least this many requests, some of them with large images.

    Args:
        workload: to serve.
        request_count: requests to count; a tenth more warms up.
        connections: of the closed loops.
        load_s: duration of one closed loop in seconds.
    """
    facts = workload.facts | machine_facts()
    images = _mix_in_large_images(workload.images)
    with serve(workload) as server:
        facts["engine"] = server.engine
        check_answers(server.url, classify_requests(images))
        _send_requests(server, images, round(request_count * _WARM_UP_SHARE), connections, load_s)
        before_mb = server.resident_mb
        responses = _send_requests(server, images, request_count, connections, load_s)
        after_mb = server.resident_mb
    return Measurement(
        f"Memory over {responses:,} requests: {workload.title}",
        [
            Figure("resident before", [before_mb], "MB"),
            Figure("resident after", [after_mb], "MB"),
            Figure("growth", [after_mb - before_mb], "MB", at_most=MAX_GROWTH_MB),
        ],
        facts,
    )


def _mix_in_large_images(small_images: list[bytes]) -> list[bytes]:
    """Add an image of a camera's size to each eight small ones."""
    large_images = generate_images(ImageSize.CAMERA)
    images: list[bytes] = []
    for number, small in enumerate(small_images):
        images.append(small)
        if number % _SMALL_PER_LARGE == 0:
            images.append(large_images[number // _SMALL_PER_LARGE % len(large_images)])
    return images


def _send_requests(server: ServerUnderTest, images: list[bytes], minimum: int, connections: int, load_s: float) -> int:
    """Send at least this many requests; return the number of responses."""
    requests, responses = classify_requests(images), 0
    while responses < minimum:
        responses += closed_loop.run(server.url, requests, connections, load_s).successes
    return responses
