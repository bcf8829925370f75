from __future__ import annotations

import signal

import pytest

from benchmarks.endurance.shutdown_client import run_until_exit
from benchmarks.harness.server import classify_requests, serve
from benchmarks.harness.workload import Workload
from benchmarks.load.http_client import encode_request


def test_pending_requests_of_a_killed_server_are_lost(tiny_workload: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINY_DELAY_S", "60")
    with serve(tiny_workload) as server:
        messages = [encode_request(server.url, request) for request in classify_requests(tiny_workload.images)]
        process = server.server_process.process
        result = run_until_exit(server.url, messages, 3, 0.5, lambda: process.send_signal(signal.SIGKILL))
        assert process.wait(10) == -signal.SIGKILL
    assert (result.answered, result.lost) == (0, 3)
