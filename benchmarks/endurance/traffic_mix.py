"""What people send: pictures, what is none or too large, and requests that they do not wait for."""

from __future__ import annotations

import io
import random
from collections.abc import Sequence
from enum import Enum, auto

from PIL import Image

from benchmarks.endurance.disconnecting_client import When, leave
from benchmarks.harness.server import CLASSIFY, classify
from benchmarks.load.http_client import Answer, connect, message
from benchmarks.load.open_loop import Pool, Sample, sample
from benchmarks.load.request import Request

BAD, GONE = 0.05, 0.05
_PATIENCE_S = 30
_LATEST = 0.05  # of the average that follows how long an answer takes
_TOO_MANY_BYTES = 1_000_000_000
_TOO_MANY_PIXELS = (8000, 8000)


class Kind(Enum):
    """What a request is."""

    GOOD = auto()
    BAD = auto()
    GONE = auto()
    """Nobody waits for its answer."""


class Mix:
    """Requests of each kind, drawn by chance, the same each time."""

    def __init__(self, url: str, pictures: Sequence[bytes], latency_s: float) -> None:
        """Of these pictures; who hangs up does so within the time that an answer takes, at first `latency_s`."""
        self._url, self._latency_s, self._chance, self._pool = url, latency_s, random.Random(0), Pool(url)
        self._good = [message(url, request) for request in classify(pictures)]
        self._bad = [message(url, request) for request in bad(pictures[0])]

    async def ask(self, number: int, planned: float) -> tuple[Kind, Sample]:
        """One request of some kind, and what came of it; to be given to `open_loop.at_rate`."""
        good, drawn = self._good[number % len(self._good)], self._chance.random()
        if drawn < BAD:
            return Kind.BAD, await sample(self._ask_once(self._chance.choice(self._bad)), planned, _PATIENCE_S)
        if drawn < BAD + GONE:
            return Kind.GONE, await sample(self._leave(good), planned, _PATIENCE_S)
        found = await sample(self._pool.ask(good), planned, _PATIENCE_S)
        self._latency_s += _LATEST * (found.latency_s - self._latency_s)
        return Kind.GOOD, found

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close()

    async def _ask_once(self, data: bytes) -> Answer:
        """On a connection of its own: not all of the body may be read by the time of the answer."""
        connection = await connect(self._url)
        try:
            return await connection.ask(data)
        finally:
            await connection.hang_up()

    async def _leave(self, data: bytes) -> Answer:
        when = self._chance.choice((When.UPLOAD, When.QUEUE))
        await leave(self._url, data, when, self._chance, self._latency_s)
        return Answer()


def bad(picture: bytes) -> list[Request]:
    """What is refused: half a picture, bytes that are none, nothing, another type, too many bytes, too many pixels."""
    large = io.BytesIO()
    Image.new("1", _TOO_MANY_PIXELS).save(large, "PNG")
    return [
        Request(CLASSIFY, picture[: len(picture) // 2], "image/jpeg"),
        Request(CLASSIFY, bytes(range(256)) * 100, "image/jpeg"),
        Request(CLASSIFY, b"", "image/jpeg"),
        Request(CLASSIFY, b"<p>A page", "text/html"),
        Request(CLASSIFY, picture, "image/jpeg", (("Content-Length", str(_TOO_MANY_BYTES)),)),
        Request(CLASSIFY, large.getvalue(), "image/png"),
    ]
