"""Thousands of clients that disconnect during their request: no work may stay pending, and nothing may leak."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Sequence
from typing import Annotated
from urllib.parse import urlsplit

import typer
import uvloop

from benchmarks.endurance.disconnecting_client import DisconnectPhase, disconnect
from benchmarks.endurance.leak_check import growth_figures, leak_figures, pending_figures, wait_until_idle
from benchmarks.harness.report import Figure, Measurement, machine_facts
from benchmarks.harness.scenario import Scenario
from benchmarks.harness.server import CANCELLED_METRIC, check_answers, classify_requests, serve
from benchmarks.harness.workload import Workload, make_workload
from benchmarks.load.http_client import encode_request
from benchmarks.load.request import Request, multipart_request, send_all
from benchmarks.options import DEFAULT_CACHE, ImageSize, InputSize
from benchmarks.serving.cancellation import run_loop
from models.console.progress import Advance, Track, ignore, silent, track

QUEUE_SIZE = 256
_LARGE_RESPONSE_PATH = "/openapi.json"  # exceeds the socket buffers: still being sent when its client disconnects
_WARM_UP_SHARE = 0.1  # of the disconnects; enough to start every thread of the server
_BASELINE_S = 2.0
_MAX_ATTEMPTS = 1000


def run(
    count: Annotated[int, typer.Option(min=30, help="Number of disconnects.")] = 10_000,
    clients: Annotated[int, typer.Option(min=1, help="Number of clients that disconnect concurrently.")] = 64,
) -> Measurement:
    """Pending work and leaks after clients disconnected during upload, queueing and response."""
    workload = make_workload(InputSize.SHIPPED, ImageSize.WEB, DEFAULT_CACHE)
    return measure(workload, count, clients, track)


SCENARIO = Scenario("disconnects", run)


def measure(workload: Workload, count: int, clients: int, show_progress: Track = silent) -> Measurement:
    """Let clients disconnect, a third of the times in each phase of a request.

    Args:
        workload: to serve.
        count: disconnects; a tenth more warms up.
        clients: that disconnect concurrently.
        show_progress: shows the number of disconnects.
    """
    facts = workload.facts | machine_facts()
    requests = classify_requests(workload.images)
    with serve(workload, APP_QUEUE_SIZE=str(QUEUE_SIZE), APP_MAX_IMAGES=str(QUEUE_SIZE)) as server:
        facts["engine"] = server.engine
        check_answers(server.url, requests)
        disconnecting_clients = _DisconnectingClients(server.url, workload.images, clients)
        disconnecting_clients.run(round(count * _WARM_UP_SHARE))
        _fills_queue(server.url, workload.images)
        before = wait_until_idle(server)
        cancelled_before, start = server.metric(CANCELLED_METRIC), time.perf_counter()
        with show_progress("Disconnecting", count, "disconnects") as advance:
            phases = disconnecting_clients.run(count, advance)
        seconds = time.perf_counter() - start
        after = wait_until_idle(server, before)
        cancelled = server.metric(CANCELLED_METRIC) - cancelled_before
        has_full_queue = _fills_queue(server.url, workload.images)
        check_answers(server.url, requests)
    return Measurement(
        f"{count:,} disconnects: {workload.title}",
        [
            *(Figure(phase, [phases.count(phase)]) for phase in DisconnectPhase),
            Figure("disconnects", [count / seconds], "per s"),
            Figure("requests cancelled by the server", [cancelled]),
            *pending_figures(after),
            *leak_figures(before, after),
            *growth_figures(before, after),
            Figure(f"a batch of {QUEUE_SIZE} images, the queue's size, completed", [float(has_full_queue)], at_least=1),
        ],
        facts,
    )


class _DisconnectingClients:
    """Clients that disconnect again and again; how long they wait depends on the server's latency."""

    def __init__(self, url: str, images: Sequence[bytes], clients: int) -> None:
        self._url, self._clients, self._rng = url, clients, random.Random(0)
        classify = [encode_request(url, request) for request in classify_requests(images)]
        embed = [encode_request(url, Request("/v1/embed", data, "image/jpeg")) for data in images]
        large = f"GET {_LARGE_RESPONSE_PATH} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\n\r\n".encode()
        self._messages = {
            DisconnectPhase.UPLOAD: classify,
            DisconnectPhase.QUEUE: classify,
            DisconnectPhase.RESPONSE: [*embed, *[large] * len(embed)],
        }
        self._max_wait_s = run_loop(url, classify, clients, 0, _BASELINE_S, 0).latency_s

    def run(self, count: int, advance: Advance = ignore) -> list[DisconnectPhase]:
        """Disconnect `count` times; return the phase of each."""
        return uvloop.run(self._run(count, advance))

    async def _run(self, count: int, advance: Advance) -> list[DisconnectPhase]:
        all_phases = list(DisconnectPhase)
        remaining = iter([all_phases[number % len(all_phases)] for number in range(count)])
        done: list[DisconnectPhase] = []

        async def run_client() -> None:
            for phase in remaining:
                await self._disconnect_in(phase)
                done.append(phase)
                advance(1)

        async with asyncio.TaskGroup() as group:
            for _ in range(self._clients):
                group.create_task(run_client())
        return done

    async def _disconnect_in(self, phase: DisconnectPhase) -> None:
        """Try until a disconnect happens in this phase."""
        for _ in range(_MAX_ATTEMPTS):
            message = self._rng.choice(self._messages[phase])
            if await disconnect(self._url, message, phase, self._rng, self._max_wait_s):
                return
        raise RuntimeError(
            f"No client could disconnect in {phase} in {_MAX_ATTEMPTS} attempts: the server rejects requests or ended."
        )


def _fills_queue(url: str, images: Sequence[bytes]) -> bool:
    """Return True if a batch that needs the whole queue is completed: a leaked reservation would prevent that."""
    batch = [images[number % len(images)] for number in range(QUEUE_SIZE)]
    try:
        _, (body,) = send_all(url, [multipart_request("/v1/classify/batch", batch)], in_flight=1)
    except RuntimeError:  # rejected
        return False
    return all("result" in item for item in json.loads(body)["items"])
