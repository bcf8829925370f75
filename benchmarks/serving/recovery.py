"""A request of 40 images after a slowdown of the machine, compared with the same request to an undisturbed server.

The batcher learns from the batches that run. A slowdown of seconds must not leave it with estimates, and so with
batches, that are worse than those of a server that never saw one.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Annotated

import typer

from benchmarks.harness.images import generate_jpegs
from benchmarks.harness.report import Figure, Measurement, machine_facts, run_rounds
from benchmarks.harness.scenario import Scenario
from benchmarks.harness.server import classify_requests, serve_store
from benchmarks.load.request import Request, multipart_request, send_all
from benchmarks.options import RoundsOption, SideOption, StoreOption
from models.artifacts.store import DEFAULT_STORE
from models.cpu import available_cores

IMAGES = 40
MAX_RATIO = 1.15
SLOW_S, RECOVERY_S = 3, 10
_WARM_UP_REQUESTS = 5
_BUSY = "while True: pass"


def run(
    slow_s: Annotated[float, typer.Option(min=0, help="Seconds for which other processes occupy all cores.")] = SLOW_S,
    recovery_s: Annotated[
        float, typer.Option(min=0, help="Seconds of single images before the measurement.")
    ] = RECOVERY_S,
    rounds: RoundsOption = 5,
    side: SideOption = 256,
    store: StoreOption = DEFAULT_STORE,
) -> Measurement:
    """A request of 40 images after a slowdown of the machine, compared with an undisturbed server."""
    with ExitStack() as stack:
        disturbed, fresh = (stack.enter_context(serve_store(store)).url for _ in range(2))
        return measure(disturbed, fresh, generate_jpegs(IMAGES, side), rounds, slow_s, recovery_s)


SCENARIO = Scenario("recovery", run)


def measure(
    disturbed_url: str, fresh_url: str, images: Sequence[bytes], rounds: int, slow_s: float, recovery_s: float
) -> Measurement:
    """Compare two running servers.

    Args:
        disturbed_url: address of the server that gets requests during the slowdown.
        fresh_url: address of the one that gets none.
        images: encoded images of the measured request.
        rounds: number of slowdowns.
        slow_s: seconds for which other processes occupy all cores.
        recovery_s: seconds of single images between the slowdown and the measured request.

    Raises:
        RuntimeError: a response has another status than 200.
    """
    requests = {"full": multipart_request("/v1/classify/batch", images), "single": classify_requests(images[:1])[0]}
    for url in (disturbed_url, fresh_url):
        send_all(url, [requests["full"]] * _WARM_UP_REQUESTS, in_flight=1)

    def measure_once() -> dict[str, float]:
        with _occupied_cores():
            _send_for(slow_s, disturbed_url, list(requests.values()))
        _send_for(recovery_s, disturbed_url, [requests["single"]])
        after_ms, fresh_ms = (1000 * send_all(url, [requests["full"]], 1)[0] for url in (disturbed_url, fresh_url))
        return {"after the slowdown": after_ms, "undisturbed": fresh_ms, "ratio": after_ms / fresh_ms}

    values = run_rounds(rounds, measure_once)
    ratio = Figure("ratio", values.pop("ratio"), at_most=MAX_RATIO)
    figures = [Figure(name, times_ms, "ms") for name, times_ms in values.items()]
    title = f"{len(images)} images, {recovery_s:g} s after a slowdown of {slow_s:g} s"
    return Measurement(title, [*figures, ratio], machine_facts())


def _send_for(seconds: float, url: str, requests: Sequence[Request]) -> None:
    """Send requests in turn, one at a time, until the time is over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        send_all(url, requests, in_flight=1)


@contextmanager
def _occupied_cores() -> Iterator[None]:
    """Run a process for each core that never waits."""
    with ExitStack() as stack:
        for _ in range(available_cores()):
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", _BUSY]))
            stack.callback(process.kill)
        yield
