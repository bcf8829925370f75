from __future__ import annotations

import pytest

from benchmarks.harness.images import generate_jpegs
from benchmarks.load import closed_loop
from benchmarks.load.request import Request
from tests.support.measurements import needs_wrk
from tests.support.slow_server import SLOW_S


@needs_wrk
def test_answers_and_latency_are_measured(slow_url: str) -> None:
    result = closed_loop.run(slow_url, [Request("/", b"x" * 1000, "image/jpeg")], connections=2, seconds=1)
    assert 0 < result.successes <= result.seconds / SLOW_S + 2
    assert result.p50_s >= SLOW_S


@needs_wrk
def test_rejection_is_an_error_unless_allowed(tiny_address: str) -> None:
    bodies = [*generate_jpegs(1, 48), b"not an image"]
    requests = [Request("/v1/classify", body, "image/jpeg") for body in bodies]
    result = closed_loop.run(tiny_address, requests, connections=1, seconds=1, allow_rejections=True)
    assert result.successes > 0
    assert result.rejected > 0
    with pytest.raises(RuntimeError, match="rejected"):
        closed_loop.run(tiny_address, requests, connections=1, seconds=1)
