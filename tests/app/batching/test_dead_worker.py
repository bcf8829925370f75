"""A thread that runs a network dies, or nothing decodes: probes say so, what was accepted finishes, the end is 1."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.encoded_images import encoded
from tests.support.processes import get, server, wait_for_metric
from tests.support.raw_http import exchange, post

PICTURE = encoded("red")
BATCH_S = 3  # of every batch; until then the probes have to be asked


def test_a_dead_worker_is_told_by_every_probe_and_ends_the_process(tiny_store: Path) -> None:
    """The thread of one network dies, while that of another runs a batch."""
    variables = {"APP_STORE": str(tiny_store), "TINY_DIES": "1", "TINY_DELAY_S": str(BATCH_S)}
    with server("tests.support.tiny_server", **variables) as started, ThreadPoolExecutor() as pool:
        address = started.address()
        accepted = pool.submit(exchange, address, post(PICTURE, "image/png", "/v1/classify?model=far"))
        wait_for_metric(address, "classifier_decode_duration_seconds_count", 1)
        assert get(address, "/livez").status == 200
        assert exchange(address, post(PICTURE, "image/png")).json["code"] == "draining"
        for path in ("/livez", "/readyz", "/healthz", "/v1/models"):
            answer = get(address, path)
            assert (answer.status, answer.json["code"]) == (503, "worker_died")
            assert int(answer.headers["Retry-After"]) >= 1
        for path in ("/v2/health/live", "/v2/health/ready"):
            answer = get(address, path)
            assert (answer.status, list(answer.json)) == (503, ["error"])
        assert accepted.result().json["predictions"][0]["label"] == "red"
        assert started.exit_code() == 1
    (line,) = (each for each in map(json.loads, started.lines) if each["level"] == "critical")
    assert "has died" in line["event"]
    assert line["in_flight"] >= 1


def test_where_no_process_that_decodes_comes_up_the_server_is_never_ready_and_ends(tiny_store: Path) -> None:
    with server("tests.support.tiny_server", APP_STORE=str(tiny_store), TINY_DECODES_NOTHING="1") as started:
        assert started.exit_code() == 1
    (line,) = (each for each in map(json.loads, started.lines) if each["level"] == "critical")
    assert "No process that decodes pictures comes up" in line["event"]
    assert "Ready" not in started.log
