"""The end of a real process: signals under load, and clients that hang up."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tests.support.encoded_images import encoded
from tests.support.processes import get, post, server, wait_for_metric

TINY = "tests.support.tiny_server"
PICTURE = encoded("green", "JPEG", (640, 480))
REQUEST = f"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: {len(PICTURE)}\r\n\r\n".encode() + PICTURE
QUEUED = 'classifier_queue_depth{extractor="near_net"}'


def test_drain_under_load_loses_nothing(tiny_store: Path) -> None:
    """Eight clients send without a pause; after SIGTERM every answer is a prediction or an orderly refusal."""
    with server(TINY, APP_STORE=str(tiny_store), TINY_DELAY_S="1", APP_MAX_BATCH="4") as started:
        address = started.address()
        accepted: list[str] = []
        refused: list[tuple[int, str]] = []
        lost: list[str] = []
        terminated = threading.Event()

        def client() -> None:
            while True:
                sent_before = not terminated.is_set()
                try:
                    answer = post(address, PICTURE)
                except OSError as error:  # the server has gone
                    if sent_before:
                        lost.append(repr(error))
                    return
                if answer.status == 200:
                    accepted.append(answer.json["predictions"][0]["label"])
                else:
                    refused.append((answer.status, answer.json["code"]))
                    time.sleep(0.02)

        with ThreadPoolExecutor(8) as clients:
            jobs = [clients.submit(client) for _ in range(8)]
            time.sleep(2)
            answered = len(accepted)
            terminated.set()
            started.terminate()
            started.wait_for_log("draining")
            readiness, liveness = get(address, "/readyz"), get(address, "/livez")
            code = started.exit_code()
            for job in jobs:
                job.result()
    assert code == 0
    assert (readiness.status, readiness.json["code"]) == (503, "draining")
    assert "Retry-After" in readiness.headers
    assert liveness.status == 200
    assert lost == []
    assert set(accepted) == {"green"}
    assert len(accepted) >= answered + 4, "what was in flight at the signal was answered"
    assert set(refused) == {(503, "draining")}, "the listener stayed open and refused"


def test_a_connection_that_was_let_in_is_answered_to_the_end(tiny_store: Path) -> None:
    """Twelve clients connect anew for each request, until nobody listens.

    Between the last look at who has come and the end of listening lie microseconds, in which one may be let in.
    """
    with server(TINY, APP_STORE=str(tiny_store)) as started:
        address = started.address()

        def client() -> list[str]:
            found: list[str] = []
            while True:
                try:
                    connection = connect(address)
                except ConnectionRefusedError:
                    return found
                with connection:
                    try:
                        connection.sendall(REQUEST)
                        found.append(connection.recv(12).decode())
                    except OSError as error:
                        found.append(repr(error))

        with ThreadPoolExecutor(12) as clients:
            jobs = [clients.submit(client) for _ in range(12)]
            time.sleep(0.5)
            started.terminate()
            assert started.exit_code() == 0
            answers = Counter(answer for job in jobs for answer in job.result())
    assert answers.pop("HTTP/1.1 200") > 0
    assert answers.pop("HTTP/1.1 503") > 0
    assert answers.total() <= 1, f"every client was let in, and not answered: {answers}"


def test_a_connection_that_asks_nothing_does_not_hold_up_the_end(tiny_store: Path) -> None:
    with server(TINY, APP_STORE=str(tiny_store), APP_READ_TIMEOUT_S="60") as started, connect(started.address()):
        time.sleep(0.2)
        started.terminate()
        assert started.exit_code(10) == 0


def test_drain_is_bounded(tiny_store: Path) -> None:
    with server(TINY, APP_STORE=str(tiny_store), TINY_DELAY_S="60", APP_DRAIN_S="0.5") as started:
        address = started.address()
        with ThreadPoolExecutor(1) as clients:
            job = clients.submit(post, address, PICTURE)
            wait_for_metric(address, "classifier_requests_in_flight", 1)
            started.terminate()
            assert started.exit_code(30) == 0
            cut_short = job.result()
    assert (cut_short.status, cut_short.json["code"]) == (503, "draining")
    assert "gave up waiting" in started.log


def test_a_second_signal_stops_at_once(tiny_store: Path) -> None:
    with server(TINY, APP_STORE=str(tiny_store), TINY_DELAY_S="60") as started:
        address = started.address()
        with ThreadPoolExecutor(1) as clients:
            job = clients.submit(post, address, PICTURE)
            wait_for_metric(address, "classifier_requests_in_flight", 1)
            started.terminate()
            started.wait_for_log("draining")
            assert started.process.poll() is None
            started.terminate()
            assert started.exit_code(30) == 128 + signal.SIGTERM
            assert isinstance(job.exception(5), OSError)


def test_a_client_that_hangs_up_leaves_the_queue(tiny_store: Path) -> None:
    with server(TINY, APP_STORE=str(tiny_store), TINY_DELAY_S="60") as started:
        address = started.address()
        with send_and_hang_up_later(address):
            wait_for_metric(address, "classifier_decode_duration_seconds_count", 1)
            wait_for_metric(address, QUEUED, 0)  # the engine is busy with it, for a minute
            with send_and_hang_up_later(address):
                wait_for_metric(address, QUEUED, 1)
            wait_for_metric(address, "classifier_requests_cancelled_total", 1)
            wait_for_metric(address, QUEUED, 0)


@contextmanager
def send_and_hang_up_later(address: str) -> Iterator[None]:
    with connect(address) as impatient:
        impatient.sendall(REQUEST)
        yield


def connect(address: str) -> socket.socket:
    host, port = address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), 30)


def test_sigterm_while_loading_ends_with_0(tiny_store: Path) -> None:
    with server(TINY, APP_STORE=str(tiny_store), TINY_LOAD_S="60") as started:
        started.wait_for_log("Loading the models")
        time.sleep(0.3)
        started.terminate()
        assert started.exit_code(20) == 0
