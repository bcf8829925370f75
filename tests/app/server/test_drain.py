"""Shutdown of a server process: signals under load, and clients that disconnect."""

from __future__ import annotations

import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tests.support.encoded_images import encoded
from tests.support.polling import wait_until
from tests.support.processes import TINY_SERVER, free_port, get, post, server, wait_for_metric
from tests.support.slow_clients import at_intervals

IMAGE = encoded("green", "JPEG", (640, 480))
REQUEST = f"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(IMAGE)}\r\n\r\n".encode() + IMAGE
QUEUED = 'classifier_queue_depth{extractor="near_net"}'
IN_FLIGHT = "classifier_requests_in_flight"


def test_drain_under_load_loses_no_request(tiny_store: Path) -> None:
    """Eight clients send again and again; after SIGTERM every response is a prediction or a rejection."""
    with server(TINY_SERVER, APP_STORE=str(tiny_store), TINY_DELAY_S="0.5", APP_MAX_BATCH="4") as process:
        address = process.address()
        accepted: list[str] = []
        rejected: list[tuple[int, str]] = []
        lost: list[str] = []
        terminated = threading.Event()

        def client() -> None:
            for _ in at_intervals(0.02):
                sent_before = not terminated.is_set()
                try:
                    answer = post(address, IMAGE)
                except OSError as error:  # the server has exited
                    if sent_before:
                        lost.append(repr(error))
                    return
                if answer.status == 200:
                    accepted.append(answer.json["predictions"][0]["label"])
                else:
                    rejected.append((answer.status, answer.json["code"]))

        with ThreadPoolExecutor(8) as clients:
            jobs = [clients.submit(client) for _ in range(8)]
            wait_until(lambda: len(accepted) >= 8)
            wait_for_metric(address, IN_FLIGHT, 8)
            answered = len(accepted)
            terminated.set()
            process.terminate()
            process.wait_for_log("draining")
            readiness, liveness = get(address, "/readyz"), get(address, "/livez")
            code = process.exit_code()
            for job in jobs:
                job.result()
    assert code == 0
    assert (readiness.status, readiness.json["code"]) == (503, "draining")
    assert "Retry-After" in readiness.headers
    assert liveness.status == 200
    assert lost == []
    assert set(accepted) == {"green"}
    assert len(accepted) >= answered + 4, "requests in flight at the signal are answered"
    assert set(rejected) == {(503, "draining")}, "the server keeps listening while it drains"


def test_every_accepted_connection_is_answered(tiny_store: Path) -> None:
    """Twelve clients open a connection for each request until the server stops listening.

    A connection may be accepted in the microseconds between the last accept and the end of listening.
    """
    with server(TINY_SERVER, APP_STORE=str(tiny_store)) as process:
        address = process.address()
        answered = threading.Event()

        def client() -> list[str]:
            answers: list[str] = []
            while True:
                try:
                    connection = connect(address)
                except ConnectionRefusedError:
                    return answers
                with connection:
                    try:
                        connection.sendall(REQUEST)
                        answers.append(connection.recv(12).decode())
                        answered.set()
                    except OSError as error:
                        answers.append(repr(error))

        with ThreadPoolExecutor(12) as clients:
            jobs = [clients.submit(client) for _ in range(12)]
            assert answered.wait(30)
            process.terminate()
            assert process.exit_code() == 0
            answers = Counter(answer for job in jobs for answer in job.result())
    assert answers.pop("HTTP/1.1 200") > 0
    assert answers.pop("HTTP/1.1 503") > 0
    assert answers.total() <= 1, f"connections were accepted and not answered: {answers}"


def test_idle_connection_does_not_delay_the_exit(tiny_store: Path) -> None:
    settings = {"APP_STORE": str(tiny_store), "APP_READ_TIMEOUT_S": "60"}
    with server(TINY_SERVER, **settings) as process, connect(process.address()):
        get(process.address(), "/livez")  # the older idle connection has been accepted by now
        process.terminate()
        assert process.exit_code(10) == 0


def test_drain_ends_after_its_timeout(tiny_store: Path) -> None:
    with server(TINY_SERVER, APP_STORE=str(tiny_store), TINY_DELAY_S="60", APP_DRAIN_S="0.5") as process:
        address = process.address()
        with ThreadPoolExecutor(1) as clients:
            job = clients.submit(post, address, IMAGE)
            wait_for_metric(address, IN_FLIGHT, 1)
            process.terminate()
            assert process.exit_code(30) == 0
            unfinished = job.result()
    assert (unfinished.status, unfinished.json["code"]) == (503, "draining")
    assert "The drain timed out" in process.log


def test_second_signal_exits_at_once(tiny_store: Path) -> None:
    with server(TINY_SERVER, APP_STORE=str(tiny_store), TINY_DELAY_S="60") as process:
        address = process.address()
        with ThreadPoolExecutor(1) as clients:
            job = clients.submit(post, address, IMAGE)
            wait_for_metric(address, IN_FLIGHT, 1)
            process.terminate()
            process.wait_for_log("draining")
            assert process.process.poll() is None
            process.terminate()
            assert process.exit_code(30) == 128 + signal.SIGTERM
            assert isinstance(job.exception(5), OSError)


def test_request_of_a_disconnected_client_leaves_the_queue(tiny_store: Path) -> None:
    with server(TINY_SERVER, APP_STORE=str(tiny_store), TINY_DELAY_S="60") as process:
        address = process.address()
        with disconnecting_client(address):
            wait_for_metric(address, "classifier_decode_duration_seconds_count", 1)
            wait_for_metric(address, QUEUED, 0)  # the engine runs it for a minute
            with disconnecting_client(address):
                wait_for_metric(address, QUEUED, 1)
            wait_for_metric(address, "classifier_requests_cancelled_total", 1)
            wait_for_metric(address, QUEUED, 0)


@contextmanager
def disconnecting_client(address: str) -> Iterator[None]:
    """Send a request, and disconnect when the block ends."""
    with connect(address) as connection:
        connection.sendall(REQUEST)
        yield


def connect(address: str) -> socket.socket:
    host, port = address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), 30)


def test_sigterm_while_the_models_load_exits_with_0(tiny_store: Path) -> None:
    port = free_port()
    with server(TINY_SERVER, APP_STORE=str(tiny_store), APP_PORT=str(port), TINY_LOAD_S="60") as process:
        process.wait_for_log("Loading the models")
        wait_until(lambda: is_alive(port))
        process.terminate()
        assert process.exit_code(20) == 0


def is_alive(port: int) -> bool:
    try:
        return get(f"http://127.0.0.1:{port}", "/livez").status == 200
    except OSError:
        return False
