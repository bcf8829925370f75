"""The server process after the death of a batch worker, or without any decode worker."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.support.encoded_images import encoded
from tests.support.processes import get, server, wait_for_metric
from tests.support.raw_http import exchange, post

IMAGE = encoded("red")
BATCH_S = 3  # duration of every batch; the probes are called meanwhile


def critical_event(lines: list[str]) -> dict[str, Any]:
    """Return the only critical event of a log."""
    (event,) = (event for event in map(json.loads, lines) if event["level"] == "critical")
    assert isinstance(event, dict)
    return event


def test_dead_batch_worker_fails_every_probe_and_ends_the_server(tiny_store: Path) -> None:
    """The worker of one extractor dies while that of another runs a batch."""
    with (
        server(
            "tests.support.tiny_server", APP_STORE=str(tiny_store), TINY_DIES="1", TINY_DELAY_S=str(BATCH_S)
        ) as started,
        ThreadPoolExecutor() as pool,
    ):
        address = started.address()
        accepted = pool.submit(exchange, address, post(IMAGE, "image/png", "/v1/classify?model=far"))
        wait_for_metric(address, "classifier_decode_duration_seconds_count", 1)
        assert get(address, "/livez").status == 200
        assert exchange(address, post(IMAGE, "image/png")).json["code"] == "draining"
        for path in ("/livez", "/readyz", "/healthz", "/v1/models"):
            response = get(address, path)
            assert (response.status, response.json["code"]) == (503, "worker_died")
            assert int(response.headers["Retry-After"]) >= 1
        for path in ("/v2/health/live", "/v2/health/ready"):
            response = get(address, path)
            assert (response.status, list(response.json)) == (503, ["error"])
        assert accepted.result().json["predictions"][0]["label"] == "red"
        assert started.exit_code() == 1
    event = critical_event(started.lines)
    assert "worker died" in event["event"]
    assert event["in_flight"] >= 1


def test_server_ends_without_becoming_ready_if_no_decode_worker_starts(tiny_store: Path) -> None:
    with server("tests.support.tiny_server", APP_STORE=str(tiny_store), TINY_DECODES_NOTHING="1") as started:
        assert started.exit_code() == 1
    assert "No decode worker can be started" in critical_event(started.lines)["event"]
    assert "Ready" not in started.log
