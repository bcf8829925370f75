"""Half of the clients hang up at random: the others lose nothing, and little is computed for those who left."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import uvloop

from benchmarks.harness.report import Figure, Measurement, machine, repeat
from benchmarks.harness.server import check, classify, serving
from benchmarks.harness.workload import Workload
from benchmarks.load.http_client import Connection, connect, message

KEPT, WASTED = 1.0, 0.05
_ROWS = "classifier_batch_size_sum"
_OK = 200


@dataclass
class Counted:
    """What came of a closed loop in which some hang up."""

    stayed: int = 0
    answered_before_leaving: int = 0
    left: int = 0
    failed: int = 0
    seconds: float = 0
    latency_s: float = 0
    """Mean, of those who stay."""

    @property
    def rate(self) -> float:
        """Answers a second to those who stay."""
        return self.stayed / self.seconds


def measure(work: Workload, clients: int, seconds: float, rounds: int) -> Measurement:
    """All stay, then the second half hangs up, each time after a random part of twice the usual latency."""
    facts = work.facts | machine()
    requests = classify(work.pictures)
    with serving(work) as ours:
        facts["engine"] = ours.engine
        check(ours.url, requests)
        messages = [message(ours.url, request) for request in requests]

        def once() -> dict[str, float]:
            calm = drive(ours.url, messages, clients, 0, seconds, 0)
            rows, gone = ours.metric(_ROWS), ours.metric("classifier_requests_cancelled_total")
            rough = drive(ours.url, messages, clients - clients // 2, clients // 2, seconds, 2 * calm.latency_s)
            computed = ours.metric(_ROWS) - rows
            delivered = rough.stayed + rough.answered_before_leaving
            per_client = calm.rate / clients
            return {
                "kept": rough.rate / (clients - clients // 2) / per_client,
                "failed": calm.failed + rough.failed,
                "wasted": max(0.0, computed - delivered) / computed,
                "left": rough.left,
                "noticed": ours.metric("classifier_requests_cancelled_total") - gone,
            }

        found = repeat(rounds, once)
    return Measurement(
        f"{clients} clients, half of whom hang up: {work.title}",
        [
            Figure("answers to one who stays, share of when all stay", found["kept"], at_least=KEPT),
            Figure("requests of those who stay that failed", found["failed"], at_most=0),
            Figure("computed for those who left, share of all", found["wasted"], at_most=WASTED),
            Figure("requests that were left", found["left"]),
            Figure("of these, noticed by the server", found["noticed"]),
        ],
        facts,
    )


def drive(
    url: str, messages: Sequence[bytes], staying: int, leaving: int, seconds: float, patience_s: float
) -> Counted:
    """A closed loop of those who stay and those who hang up after a random time below `patience_s`."""
    return uvloop.run(_drive(url, messages, staying, leaving, seconds, patience_s))


async def _drive(
    url: str, messages: Sequence[bytes], staying: int, leaving: int, seconds: float, patience_s: float
) -> Counted:
    counted, turn, chance = Counted(), itertools.cycle(messages), random.Random(0)
    began = time.perf_counter()
    until, latencies = began + seconds, list[float]()
    async with asyncio.TaskGroup() as group:
        for _ in range(staying):
            group.create_task(_stay(url, turn, until, counted, latencies))
        for _ in range(leaving):
            group.create_task(_leave(url, turn, until, counted, chance, patience_s))
    counted.seconds = time.perf_counter() - began
    counted.latency_s = sum(latencies) / len(latencies)
    return counted


async def _stay(url: str, turn: Iterator[bytes], until: float, counted: Counted, latencies: list[float]) -> None:
    connection = await connect(url)
    while (began := time.perf_counter()) < until:
        if (await connection.ask(next(turn))).status == _OK:
            counted.stayed += 1
        else:
            counted.failed += 1
        latencies.append(time.perf_counter() - began)
    await connection.hang_up()


async def _leave(
    url: str, turn: Iterator[bytes], until: float, counted: Counted, chance: random.Random, patience_s: float
) -> None:
    connection: Connection | None = None
    while time.perf_counter() < until:
        connection = connection or await connect(url)
        try:
            async with asyncio.timeout(chance.uniform(0, patience_s)):
                answer = await connection.ask(next(turn))
        except TimeoutError:
            counted.left += 1
            await connection.hang_up()
            connection = None
        else:
            counted.answered_before_leaving += answer.status == _OK
    if connection:
        await connection.hang_up()
