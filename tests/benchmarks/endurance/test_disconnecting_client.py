from __future__ import annotations

import asyncio
import random

import pytest

from benchmarks.endurance.disconnecting_client import DisconnectPhase, disconnect
from benchmarks.harness.process import free_port
from benchmarks.load.http_client import encode_request
from benchmarks.load.request import Request
from tests.support.slow_server import SLOW_S

REQUEST = Request("/", b"x" * 1000, "image/jpeg")


@pytest.mark.parametrize("phase", DisconnectPhase)
def test_client_disconnects_in_each_phase(slow_url: str, phase: DisconnectPhase) -> None:
    """On a busy machine the server may answer before the client looks; it then tries again."""
    message = encode_request(slow_url, REQUEST)
    assert any(asyncio.run(disconnect(slow_url, message, phase, random.Random(0), SLOW_S / 2)) for _ in range(20))


def test_disconnect_after_the_answer_does_not_count_as_queued(slow_url: str) -> None:
    rng = random.Random(0)
    rng.uniform = lambda *_: 10 * SLOW_S  # type: ignore[method-assign]
    message = encode_request(slow_url, REQUEST)
    assert not asyncio.run(disconnect(slow_url, message, DisconnectPhase.QUEUE, rng, 1))


def test_no_disconnect_without_a_server() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    message = encode_request(url, REQUEST)
    assert not asyncio.run(disconnect(url, message, DisconnectPhase.UPLOAD, random.Random(0), 0))
