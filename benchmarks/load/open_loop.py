"""Open-loop load: requests at a constant rate, independent of the responses.

A client that waits for a response before its next request sends less while the server is slow, and so leaves out the
requests that would have waited longest: coordinated omission (Tene, "How NOT to Measure Latency", 2013). Here every
request has a planned time, and its latency counts from there.

wrk2 and vegeta do this, but are neither in Debian 12 nor on PyPI. The tools that are (hey, autocannon, locust) wait for
responses or send only one body.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import uvloop

from benchmarks.load.http_client import Connection, Response, connect, encode_request
from benchmarks.load.request import Request

T = TypeVar("T")


@dataclass(frozen=True)
class Sample:
    """Timing of one request.

    Attributes:
        lag_s: seconds from the planned time until the request was sent.
        latency_s: seconds from the planned time until the response.
        status: of the response; 0 if there was none.
        has_retry_after: True if the response has a Retry-After header.
    """

    lag_s: float
    latency_s: float
    status: int
    has_retry_after: bool


def run(url: str, requests: Sequence[Request], rate: float, seconds: float, timeout_s: float = 30) -> list[Sample]:
    """Send requests in rotation at a constant rate.

    Args:
        url: address of the server.
        requests: to send in rotation.
        rate: requests per second.
        seconds: duration of the load.
        timeout_s: longest wait for a response.

    Returns:
        One sample per request, in the order of the planned times.
    """
    return uvloop.run(_run(url, requests, rate, seconds, timeout_s))


def percentile(seconds: Sequence[float], percent: float) -> float:
    """Return a percentile of latencies; 0 if there are none."""
    return float(np.percentile(seconds, percent)) if seconds else 0.0


async def send_at_rate(rate: float, seconds: float, send: Callable[[int, float], Awaitable[T]]) -> list[T]:
    """Call `send(number, planned)` at a constant rate without waiting for earlier calls.

    Args:
        rate: calls per second.
        seconds: duration; there is at least one call.
        send: takes the number of the request and its planned time on the `time.perf_counter()` clock.

    Returns:
        The results of `send`, in order.
    """
    start, results = time.perf_counter(), dict[int, T]()

    async def store_result(number: int, planned: float) -> None:
        results[number] = await send(number, planned)

    async with asyncio.TaskGroup() as group:
        for number in range(max(1, int(rate * seconds))):
            planned = start + number / rate
            if (delay_s := planned - time.perf_counter()) > 0:
                await asyncio.sleep(delay_s)
            group.create_task(store_result(number, planned))
    return [results[number] for number in range(len(results))]


async def _run(url: str, requests: Sequence[Request], rate: float, seconds: float, timeout_s: float) -> list[Sample]:
    messages, pool = [encode_request(url, request) for request in requests], ConnectionPool(url)

    async def send(number: int, planned: float) -> Sample:
        return await take_sample(pool.send(messages[number % len(messages)]), planned, timeout_s)

    samples = await send_at_rate(rate, seconds, send)
    await pool.close()
    return samples


async def take_sample(response: Awaitable[Response], planned: float, timeout_s: float) -> Sample:
    """Wait for a response, at most `timeout_s`, and return its sample.

    Args:
        response: pending response; status 0 is recorded if it fails or times out.
        planned: planned time of the request on the `time.perf_counter()` clock.
        timeout_s: longest wait in seconds.
    """
    lag_s, received = time.perf_counter() - planned, Response()
    try:
        async with asyncio.timeout(timeout_s):
            received = await response
    except (TimeoutError, OSError):
        pass  # status 0
    return Sample(lag_s, time.perf_counter() - planned, received.status, "retry-after" in received.headers)


class ConnectionPool:
    """Keep-alive connections; opens another one when all are in use."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._idle: list[Connection] = []

    async def send(self, message: bytes) -> Response:
        while self._idle and not self._idle[-1].is_open:
            self._idle.pop()
        connection = self._idle.pop() if self._idle else await connect(self._url)
        try:
            response = await connection.send(message)
        except BaseException:
            await connection.abort()
            raise
        self._idle.append(connection)
        return response

    async def close(self) -> None:
        for connection in self._idle:
            await connection.abort()
