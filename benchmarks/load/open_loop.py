"""Requests at a constant rate, whatever becomes of those before.

A client that waits for its answer before it asks again goes easy on a server that is late, and leaves out the very
requests that would have waited longest: coordinated omission (Tene, "How not to measure latency", 2013). So each
request has its planned time, and its latency counts from there.

wrk2 and vegeta do this and are in neither Debian 12 nor PyPI; what is there (hey, autocannon, locust) waits for
answers, or sends one body only.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import uvloop

from benchmarks.load.http_client import Answer, Connection, connect, message
from benchmarks.load.request import Request

T = TypeVar("T")


@dataclass(frozen=True)
class Sample:
    """One request: seconds from its planned time until it was sent and until its answer; status 0 if none came."""

    lag_s: float
    latency_s: float
    status: int
    says_when: bool
    """Whether the answer has a Retry-After."""


def drive(url: str, requests: Sequence[Request], rate: float, seconds: float, patience_s: float = 30) -> list[Sample]:
    """Post requests in turn at a constant rate.

    Args:
        url: of the server.
        requests: no two need to be the same.
        rate: a second.
        seconds: in which requests are sent.
        patience_s: how long the last answers are waited for.

    Returns:
        One for each request, in the order of their planned times.
    """
    return uvloop.run(_drive(url, requests, rate, seconds, patience_s))


def percentile(seconds: Sequence[float], percent: float) -> float:
    """Of latencies; 0 where there are none."""
    return float(np.percentile(seconds, percent)) if seconds else 0.0


async def at_rate(rate: float, seconds: float, ask: Callable[[int, float], Awaitable[T]]) -> list[T]:
    """Begin `ask(number, planned)` so many times a second, whatever becomes of those before; what they give, in order.

    `planned` is a `time.perf_counter()`.
    """
    began, found = time.perf_counter(), dict[int, T]()

    async def note(number: int, planned: float) -> None:
        found[number] = await ask(number, planned)

    async with asyncio.TaskGroup() as group:
        for number in range(max(1, int(rate * seconds))):
            planned = began + number / rate
            if (ahead := planned - time.perf_counter()) > 0:
                await asyncio.sleep(ahead)
            group.create_task(note(number, planned))
    return [found[number] for number in range(len(found))]


async def _drive(url: str, requests: Sequence[Request], rate: float, seconds: float, patience_s: float) -> list[Sample]:
    messages, pool = [message(url, request) for request in requests], Pool(url)

    async def ask(number: int, planned: float) -> Sample:
        return await sample(pool.ask(messages[number % len(messages)]), planned, patience_s)

    samples = await at_rate(rate, seconds, ask)
    await pool.close()
    return samples


async def sample(asked: Awaitable[Answer], planned: float, patience_s: float) -> Sample:
    """Wait for an answer that was to be asked for at a time, but no longer than `patience_s`."""
    lag_s, answer = time.perf_counter() - planned, Answer()
    try:
        async with asyncio.timeout(patience_s):
            answer = await asked
    except (TimeoutError, OSError):
        pass  # a request without an answer: status 0
    return Sample(lag_s, time.perf_counter() - planned, answer.status, "retry-after" in answer.headers)


class Pool:
    """As many connections as there are requests under way."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._idle: list[Connection] = []

    async def ask(self, data: bytes) -> Answer:
        while self._idle and not self._idle[-1].is_open:
            self._idle.pop()
        connection = self._idle.pop() if self._idle else await connect(self._url)
        try:
            answer = await connection.ask(data)
        except BaseException:
            await connection.hang_up()
            raise
        self._idle.append(connection)
        return answer

    async def close(self) -> None:
        for connection in self._idle:
            await connection.hang_up()
