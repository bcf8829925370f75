"""Cancellation: half of the clients disconnect at random. The others must lose nothing, and little work be wasted."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import uvloop

from benchmarks.harness.report import Figure, Measurement, machine_facts, run_rounds
from benchmarks.harness.scenario import Scenario
from benchmarks.harness.server import CANCELLED_METRIC, check_answers, classify_requests, serve
from benchmarks.harness.workload import Workload, make_workload
from benchmarks.load.http_client import Connection, connect, encode_request
from benchmarks.options import (
    DEFAULT_CACHE,
    CacheOption,
    ConnectionsOption,
    ImageSize,
    ImageSizeOption,
    InputSize,
    NetworkOption,
    RoundsOption,
    SecondsOption,
)

MIN_KEPT, MAX_WASTED = 1.0, 0.05
_CLASSIFIED_METRIC = "classifier_batch_size_sum"
_OK = 200


def run(
    network: NetworkOption = InputSize.LARGE,
    image_size: ImageSizeOption = ImageSize.WEB,
    connections: ConnectionsOption = 128,
    seconds: SecondsOption = 10,
    rounds: RoundsOption = 3,
    cache: CacheOption = DEFAULT_CACHE,
) -> Measurement:
    """Throughput and wasted work when half of the clients disconnect at random."""
    return measure(make_workload(network, image_size, cache), connections, seconds, rounds)


SCENARIO = Scenario("cancel", run)


@dataclass
class LoopResult:
    """Result of a closed loop in which some clients disconnect.

    Attributes:
        answered: requests of staying clients that received a response.
        answered_early: responses that arrived before a disconnecting client disconnected.
        disconnected: requests whose client disconnected.
        failed: requests of staying clients with another status than 200.
        seconds: duration.
        latency_s: mean latency of staying clients.
    """

    answered: int = 0
    answered_early: int = 0
    disconnected: int = 0
    failed: int = 0
    seconds: float = 0
    latency_s: float = 0

    @property
    def rate(self) -> float:
        """Responses per second to staying clients."""
        return self.answered / self.seconds


def measure(workload: Workload, clients: int, seconds: float, rounds: int) -> Measurement:
    """Measure a loop in which all clients stay, then one in which half of them disconnect.

    A client disconnects after a random time of up to twice the mean latency of the first loop.
    """
    facts = workload.facts | machine_facts()
    requests = classify_requests(workload.images)
    disconnecting = clients // 2
    staying = clients - disconnecting
    with serve(workload) as server:
        facts["engine"] = server.engine
        check_answers(server.url, requests)
        messages = [encode_request(server.url, request) for request in requests]

        def measure_once() -> dict[str, float]:
            baseline = run_loop(server.url, messages, clients, 0, seconds, 0)
            classified_before, cancelled_before = server.metric(_CLASSIFIED_METRIC), server.metric(CANCELLED_METRIC)
            result = run_loop(server.url, messages, staying, disconnecting, seconds, 2 * baseline.latency_s)
            classified = server.metric(_CLASSIFIED_METRIC) - classified_before
            answered = result.answered + result.answered_early
            return {
                "kept": (result.rate / staying) / (baseline.rate / clients),
                "failed": baseline.failed + result.failed,
                "wasted": max(0.0, classified - answered) / classified,
                "disconnected": result.disconnected,
                "cancelled": server.metric(CANCELLED_METRIC) - cancelled_before,
            }

        values = run_rounds(rounds, measure_once)
    return Measurement(
        f"{clients} clients, half of which disconnect: {workload.title}",
        [
            Figure("rate of a staying client / rate when all stay", values["kept"], at_least=MIN_KEPT),
            Figure("failed requests of staying clients", values["failed"], at_most=0),
            Figure("share of classified images without a client", values["wasted"], at_most=MAX_WASTED),
            Figure("requests whose client disconnected", values["disconnected"]),
            Figure("requests cancelled by the server", values["cancelled"]),
        ],
        facts,
    )


def run_loop(
    url: str, messages: Sequence[bytes], staying: int, disconnecting: int, seconds: float, max_wait_s: float
) -> LoopResult:
    """Run a closed loop in which some clients disconnect.

    Args:
        url: address of the server.
        messages: encoded requests, sent in rotation.
        staying: clients that wait for every response.
        disconnecting: clients that wait a random time and then disconnect.
        seconds: duration.
        max_wait_s: longest wait of a disconnecting client.
    """
    return uvloop.run(_run_loop(url, messages, staying, disconnecting, seconds, max_wait_s))


async def _run_loop(
    url: str, messages: Sequence[bytes], staying: int, disconnecting: int, seconds: float, max_wait_s: float
) -> LoopResult:
    result, rotation, rng = LoopResult(), itertools.cycle(messages), random.Random(0)
    start = time.perf_counter()
    end, latencies = start + seconds, list[float]()
    async with asyncio.TaskGroup() as group:
        for _ in range(staying):
            group.create_task(_run_staying_client(url, rotation, end, result, latencies))
        for _ in range(disconnecting):
            group.create_task(_run_disconnecting_client(url, rotation, end, result, rng, max_wait_s))
    result.seconds = time.perf_counter() - start
    result.latency_s = sum(latencies) / len(latencies)
    return result


async def _run_staying_client(
    url: str, rotation: Iterator[bytes], end: float, result: LoopResult, latencies: list[float]
) -> None:
    connection = await connect(url)
    while (start := time.perf_counter()) < end:
        if (await connection.send(next(rotation))).status == _OK:
            result.answered += 1
        else:
            result.failed += 1
        latencies.append(time.perf_counter() - start)
    await connection.abort()


async def _run_disconnecting_client(
    url: str, rotation: Iterator[bytes], end: float, result: LoopResult, rng: random.Random, max_wait_s: float
) -> None:
    connection: Connection | None = None
    while time.perf_counter() < end:
        connection = connection or await connect(url)
        try:
            async with asyncio.timeout(rng.uniform(0, max_wait_s)):
                response = await connection.send(next(rotation))
        except TimeoutError:
            result.disconnected += 1
            await connection.abort()
            connection = None
        else:
            result.answered_early += response.status == _OK
    if connection:
        await connection.abort()
