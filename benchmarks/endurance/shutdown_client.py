"""Clients that keep sending requests while the server shuts down."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import uvloop

from benchmarks.load.http_client import Connection, connect

_RETRY_PAUSE_S = 0.02  # after a rejection
_SHUTDOWN_TIMEOUT_S = 120
_OK, _UNAVAILABLE = 200, 503


@dataclass
class ShutdownResult:
    """Requests before and during a shutdown.

    Attributes:
        answered: with status 200.
        rejected: with status 503 and Retry-After.
        other: with any other response.
        lost: sent before the shutdown began and without a response.
        cut: sent after that and without a response, because the process had ended.
        shutdown_at_s: time at which the shutdown began on the `time.monotonic()` clock; 0 before.
    """

    answered: int = 0
    rejected: int = 0
    other: int = 0
    lost: int = 0
    cut: int = 0
    shutdown_at_s: float = 0


def run_until_exit(
    url: str, messages: Sequence[bytes], clients: int, seconds: float, shut_down: Callable[[], None]
) -> ShutdownResult:
    """Run a closed loop until the server does not accept connections any more.

    Args:
        url: address of the server.
        messages: encoded requests, sent in rotation.
        clients: each with one request in flight.
        seconds: time until `shut_down` is called.
        shut_down: Begin the shutdown of the server.

    Raises:
        TimeoutError: the server still accepts connections two minutes after `shut_down`.
    """
    return uvloop.run(_run(url, messages, clients, seconds, shut_down))


async def _run(
    url: str, messages: Sequence[bytes], clients: int, seconds: float, shut_down: Callable[[], None]
) -> ShutdownResult:
    result, rotation = ShutdownResult(), itertools.cycle(messages)

    async def begin_shutdown() -> None:
        await asyncio.sleep(seconds)
        result.shutdown_at_s = time.monotonic()
        shut_down()

    async with asyncio.timeout(seconds + _SHUTDOWN_TIMEOUT_S), asyncio.TaskGroup() as group:
        group.create_task(begin_shutdown())
        for _ in range(clients):
            group.create_task(_run_client(url, rotation, result))
    return result


async def _run_client(url: str, rotation: Iterator[bytes], result: ShutdownResult) -> None:
    connection: Connection | None = None
    while True:
        try:
            if connection is None or not connection.is_open:
                connection = await connect(url)
        except OSError:
            return
        is_before_shutdown = not result.shutdown_at_s
        try:
            response = await connection.send(next(rotation))
        except ConnectionError:
            result.lost += is_before_shutdown
            result.cut += not is_before_shutdown
            continue
        if response.status == _OK:
            result.answered += 1
        elif response.status == _UNAVAILABLE and "retry-after" in response.headers:
            result.rejected += 1
            await asyncio.sleep(_RETRY_PAUSE_S)
        else:
            result.other += 1
