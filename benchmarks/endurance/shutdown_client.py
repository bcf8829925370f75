"""Clients who go on asking while the server ends."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import uvloop

from benchmarks.load.http_client import Connection, connect

_PAUSE_S = 0.02  # after a refusal
_LONGEST_S = 120
_OK, _UNAVAILABLE = 200, 503


@dataclass
class Met:
    """What became of the requests."""

    answered: int = 0
    refused: int = 0
    """By a 503 that says when to come back."""
    other: int = 0
    """Another answer."""
    lost: int = 0
    """Asked before the end began, and never answered."""
    cut: int = 0
    """Asked after that, over a connection that was closed when the process had ended."""
    ended_s: float = 0
    """When the end began, a `time.monotonic()`."""


def drive(url: str, messages: Sequence[bytes], clients: int, seconds: float, end: Callable[[], None]) -> Met:
    """A closed loop, until nobody listens any more.

    Args:
        url: of the server.
        messages: whole requests, sent in turn.
        clients: each with one request under way.
        seconds: until `end` is called.
        end: what begins the end of the server.

    Raises:
        TimeoutError: somebody still listens two minutes later.
    """
    return uvloop.run(_drive(url, messages, clients, seconds, end))


async def _drive(url: str, messages: Sequence[bytes], clients: int, seconds: float, end: Callable[[], None]) -> Met:
    met, turn = Met(), itertools.cycle(messages)

    async def begin_the_end() -> None:
        await asyncio.sleep(seconds)
        met.ended_s = time.monotonic()
        end()

    async with asyncio.timeout(seconds + _LONGEST_S), asyncio.TaskGroup() as group:
        group.create_task(begin_the_end())
        for _ in range(clients):
            group.create_task(_ask(url, turn, met))
    return met


async def _ask(url: str, turn: Iterator[bytes], met: Met) -> None:
    connection: Connection | None = None
    while True:
        try:
            if connection is None or not connection.is_open:
                connection = await connect(url)
        except OSError:
            return
        is_early = not met.ended_s
        try:
            answer = await connection.ask(next(turn))
        except ConnectionError:
            met.lost += is_early
            met.cut += not is_early
            continue
        if answer.status == _OK:
            met.answered += 1
        elif answer.status == _UNAVAILABLE and "retry-after" in answer.headers:
            met.refused += 1
            await asyncio.sleep(_PAUSE_S)
        else:
            met.other += 1
