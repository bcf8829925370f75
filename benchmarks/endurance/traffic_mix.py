"""A mix of traffic: valid images, invalid uploads, and requests whose client disconnects."""

from __future__ import annotations

import io
import random
from collections.abc import Sequence
from enum import Enum, auto

from PIL import Image

from benchmarks.endurance.disconnecting_client import DisconnectPhase, disconnect
from benchmarks.harness.server import CLASSIFY_PATH, classify_requests
from benchmarks.load.http_client import Response, connect, encode_request
from benchmarks.load.open_loop import ConnectionPool, Sample, take_sample
from benchmarks.load.request import Request

INVALID_SHARE, DISCONNECTED_SHARE = 0.05, 0.05
_TIMEOUT_S = 30
_SMOOTHING = 0.05  # weight of the latest latency in the moving average
_TOO_MANY_BYTES = 1_000_000_000
_TOO_MANY_PIXELS = (10_000, 10_000)


class RequestKind(Enum):
    """Kind of a request in the mix."""

    VALID = auto()
    INVALID = auto()
    DISCONNECTED = auto()


class TrafficMix:
    """Requests of random kinds, deterministic for a sequence of calls."""

    def __init__(self, url: str, images: Sequence[bytes], latency_s: float) -> None:
        """Prepare the requests.

        Args:
            url: address of the server.
            images: JPEG files.
            latency_s: expected latency of a response. Clients disconnect within this time; it follows the latency.
        """
        self._url, self._latency_s, self._rng, self._pool = url, latency_s, random.Random(0), ConnectionPool(url)
        self._valid = [encode_request(url, request) for request in classify_requests(images)]
        self._invalid = [encode_request(url, request) for request in invalid_requests(images[0])]

    async def send(self, number: int, planned: float) -> tuple[RequestKind, Sample]:
        """Send a request of a random kind; the arguments are those of `open_loop.send_at_rate`."""
        message, draw = self._valid[number % len(self._valid)], self._rng.random()
        if draw < INVALID_SHARE:
            response = self._send_once(self._rng.choice(self._invalid))
            return RequestKind.INVALID, await take_sample(response, planned, _TIMEOUT_S)
        if draw < INVALID_SHARE + DISCONNECTED_SHARE:
            return RequestKind.DISCONNECTED, await take_sample(self._disconnect(message), planned, _TIMEOUT_S)
        sample = await take_sample(self._pool.send(message), planned, _TIMEOUT_S)
        self._latency_s += _SMOOTHING * (sample.latency_s - self._latency_s)
        return RequestKind.VALID, sample

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close()

    async def _send_once(self, message: bytes) -> Response:
        """Send on a new connection: a rejected request's body may not be read completely."""
        connection = await connect(self._url)
        try:
            return await connection.send(message)
        finally:
            await connection.abort()

    async def _disconnect(self, message: bytes) -> Response:
        phase = self._rng.choice((DisconnectPhase.UPLOAD, DisconnectPhase.QUEUE))
        await disconnect(self._url, message, phase, self._rng, self._latency_s)
        return Response()


def invalid_requests(image: bytes) -> list[Request]:
    """Build requests that the server must reject with 4xx.

    Args:
        image: a JPEG file.

    Returns:
        Half of the image, bytes of no image format, an empty body, another content type, a body that is too large,
        and an image with too many pixels.
    """
    large = io.BytesIO()
    Image.new("1", _TOO_MANY_PIXELS).save(large, "PNG")
    return [
        Request(CLASSIFY_PATH, image[: len(image) // 2], "image/jpeg"),
        Request(CLASSIFY_PATH, bytes(range(256)) * 100, "image/jpeg"),
        Request(CLASSIFY_PATH, b"", "image/jpeg"),
        Request(CLASSIFY_PATH, b"<p>A page", "text/html"),
        Request(CLASSIFY_PATH, image, "image/jpeg", (("Content-Length", str(_TOO_MANY_BYTES)),)),
        Request(CLASSIFY_PATH, large.getvalue(), "image/png"),
    ]
