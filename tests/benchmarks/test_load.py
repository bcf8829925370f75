"""The generators of load count what they should."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys

import pytest

from benchmarks.harness.process import free_port, running
from benchmarks.load import closed_loop, open_loop
from benchmarks.load.http_client import message
from benchmarks.load.open_loop import Sample
from benchmarks.load.request import Request
from benchmarks.serving import cancellation as cancel
from benchmarks.serving.overload import judged
from tests.benchmarks.conftest import SLOW_S

ASKED = Request("/", b"x" * 1000, "image/jpeg")
needs_wrk = pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed (apt-get install wrk)")


def test_an_open_loop_counts_latency_from_the_planned_time(slow_url: str) -> None:
    samples = open_loop.drive(slow_url, [ASKED], rate=1000, seconds=0.04)
    assert [sample.status for sample in samples] == [200] * 40
    # Asked for at once, answered one after another: whoever comes last has waited for all others.
    assert max(sample.latency_s for sample in samples) >= 40 * SLOW_S - 0.04
    assert all(sample.latency_s >= sample.lag_s for sample in samples)


def test_an_open_loop_keeps_its_rate_however_late_answers_are(slow_url: str) -> None:
    samples = open_loop.drive(slow_url, [ASKED], rate=500, seconds=0.1, patience_s=0.01)
    assert len(samples) == 50
    assert 0 in {sample.status for sample in samples}  # given up, not waited for


def test_a_request_that_nobody_answers_has_no_status() -> None:
    (sample,) = open_loop.drive(f"http://127.0.0.1:{free_port()}", [ASKED], rate=1, seconds=1)
    assert sample.status == 0


def test_overload_judges_by_the_deadline_and_by_how_refusals_look() -> None:
    samples = [
        Sample(0.001, 0.5, 200, False),
        Sample(0.001, 1.5, 200, False),  # an answer, but too late
        Sample(0.001, 1.0, 504, False),  # accepted and given up
        Sample(0.001, 0.01, 503, True),
        Sample(0.001, 0.02, 503, False),  # does not say when to come back
    ]
    found = judged(samples, seconds=2, deadline_s=1)
    assert found["goodput"] == 0.5
    assert found["in time"] == pytest.approx(1 / 3)
    assert found["said when"] == 0.5
    assert found["refusal"] == pytest.approx(20, rel=0.02)


def test_clients_that_hang_up_are_counted_apart(slow_url: str) -> None:
    counted = cancel.drive(slow_url, [message(slow_url, ASKED)], 2, 2, seconds=0.3, patience_s=SLOW_S / 2)
    assert counted.stayed > 0
    assert counted.left > 0
    assert (counted.failed, counted.answered_before_leaving) == (0, 0)  # nobody is answered within that patience


@needs_wrk
def test_a_closed_loop_counts_answers(slow_url: str) -> None:
    closed = closed_loop.served(slow_url, [ASKED], connections=2, seconds=1)
    assert 0 < closed.answers <= closed.seconds / SLOW_S + 2
    assert closed.p50 >= SLOW_S


def test_without_wrk_a_line_says_how_to_get_it() -> None:
    command = [sys.executable, "-m", "benchmarks", "latency"]
    done = subprocess.run(command, env={"PATH": "/nowhere"}, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "wrk is needed for this and not installed. On Debian and Ubuntu: apt-get install wrk\n"


def test_a_server_that_does_not_start_tells_why() -> None:
    command = [sys.executable, "-c", "raise SystemExit('no model is there')"]
    with pytest.raises(RuntimeError, match="no model is there"), running(command, lambda: False, 1, {}):
        pass


def test_a_server_ends_with_all_that_it_started() -> None:
    port = free_port()
    child = f"import socket, time; s = socket.create_server(('127.0.0.1', {port})); time.sleep(60)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with running([sys.executable, "-c", parent], lambda: _listens(port), port, {}) as server:
        assert server.url == f"http://127.0.0.1:{port}"
    assert not _listens(port)


def _listens(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0
