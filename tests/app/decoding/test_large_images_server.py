"""Images that take seconds to decode, sent to a server process, while another client sends small ones."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from models.cpu import available_cores
from tests.support.decode_worker import children, is_running
from tests.support.encoded_images import encoded, translucent_png
from tests.support.heic import grid
from tests.support.machine import retry_while_machine_is_busy
from tests.support.polling import wait_until
from tests.support.processes import Answer, ServerProcess, server
from tests.support.raw_http import exchange, post
from tests.support.slow_clients import at_intervals

CLIENTS = 8
MAX_SMALL_RESPONSE_S = 1.0
MAX_LARGE_RESPONSE_S = {12: 15.0, 45: 60.0}  # by megapixels; the wait for the others included


@dataclass(frozen=True)
class TimedResponse:
    """A response, and the seconds since the request was sent."""

    response: Answer
    seconds: float


@pytest.fixture
def process(tiny_store: Path) -> Iterator[ServerProcess]:
    with server("tests.support.tiny_server", APP_STORE=str(tiny_store)) as started:
        yield started


def send(address: str, request: bytes) -> TimedResponse:
    began = time.monotonic()
    return TimedResponse(exchange(address, request), time.monotonic() - began)


def slowest_s(responses: list[TimedResponse]) -> float:
    return max(response.seconds for response in responses)


@contextmanager
def small_images(address: str) -> Iterator[list[TimedResponse]]:
    """Send small images one after the other until the block ends, and yield the responses."""
    request, responses, stop = post(encoded("green"), "image/png"), list[TimedResponse](), threading.Event()

    def send_until_stopped() -> None:
        for _ in at_intervals(0.02):
            if stop.is_set():
                return
            responses.append(send(address, request))

    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(send_until_stopped)
        try:
            yield responses
        finally:
            stop.set()
            sending.result(60)


def with_small_images(
    address: str, send_large: Callable[[], list[TimedResponse]]
) -> tuple[list[TimedResponse], list[TimedResponse]]:
    """Return the responses to large images, and to the small ones that were sent meanwhile."""
    with small_images(address) as small:
        return send_large(), small


@pytest.mark.quiet
@pytest.mark.timeout(300)
@pytest.mark.parametrize("megapixels", [12, 45])
def test_large_images_get_their_responses_and_do_not_delay_small_ones(process: ServerProcess, megapixels: int) -> None:
    address, large = process.address(), post(translucent_png(megapixels), "image/png")

    def send_all_at_once() -> list[TimedResponse]:
        with ThreadPoolExecutor(CLIENTS) as pool:
            return list(pool.map(lambda _: send(address, large), range(CLIENTS)))

    large_responses, small = retry_while_machine_is_busy(
        lambda: with_small_images(address, send_all_at_once),
        lambda responses: (
            slowest_s(responses[0]) < MAX_LARGE_RESPONSE_S[megapixels]
            and slowest_s(responses[1]) < MAX_SMALL_RESPONSE_S
        ),
    )
    assert {large.response.status for large in large_responses} == {200}
    assert slowest_s(large_responses) < MAX_LARGE_RESPONSE_S[megapixels]
    assert [image.response.json["predictions"][0]["label"] for image in small] == ["green"] * len(small)
    assert slowest_s(small) < MAX_SMALL_RESPONSE_S


@pytest.mark.quiet
@pytest.mark.timeout(300)
def test_phones_that_send_heic_photos_at_once_all_get_their_results(process: ServerProcess) -> None:
    address, photo = process.address(), post(grid(8, 6, (4032, 3024)), "image/heic")

    def send_all_at_once() -> list[TimedResponse]:
        with ThreadPoolExecutor(CLIENTS) as pool:
            return list(pool.map(lambda _: send(address, photo), range(2 * CLIENTS)))

    photos, small = retry_while_machine_is_busy(
        lambda: with_small_images(address, send_all_at_once),
        lambda responses: slowest_s(responses[1]) < MAX_SMALL_RESPONSE_S,
    )
    assert [response.response.status for response in photos] == [200] * 2 * CLIENTS
    assert {image.response.status for image in small} == {200}
    assert slowest_s(small) < MAX_SMALL_RESPONSE_S


@pytest.mark.quiet
@pytest.mark.timeout(300)
@pytest.mark.parametrize("megapixels", [12, 45])
def test_slow_batch_of_large_images_does_not_delay_small_ones(process: ServerProcess, megapixels: int) -> None:
    address, image = process.address(), translucent_png(megapixels)
    part = b'--b\r\nContent-Disposition: form-data; name="files"; filename="f"\r\n\r\n' + image + b"\r\n"
    batch = post(part * CLIENTS + b"--b--\r\n", "multipart/form-data; boundary=b", "/v1/classify/batch")
    (batch_response,), small = retry_while_machine_is_busy(
        lambda: with_small_images(address, lambda: [send(address, batch)]),
        lambda responses: slowest_s(responses[1]) < MAX_SMALL_RESPONSE_S,
    )
    items = batch_response.response.json["items"]
    assert [item["result"]["predictions"][0]["label"] for item in items] == ["red"] * CLIENTS
    assert {image.response.status for image in small} == {200}
    assert slowest_s(small) < MAX_SMALL_RESPONSE_S


def wait_for_end(processes: set[int]) -> None:
    wait_until(lambda: not any(map(is_running, processes)))


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_killed_workers_lose_no_image_and_none_outlives_the_server(tiny_store: Path, end: signal.Signals) -> None:
    with server("tests.support.tiny_server", APP_STORE=str(tiny_store)) as process:
        address, request = process.address(), post(encoded("green"), "image/png")
        before = children(process.process.pid)
        assert len(before) == available_cores(), "the server was ready before its workers"
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        wait_for_end(before)
        responses = [exchange(address, request) for _ in range(4)]
        assert [response.json["predictions"][0]["label"] for response in responses] == ["green"] * 4
        after = children(process.process.pid) - before
        assert after
        process.process.send_signal(end)
        assert process.exit_code() == (0 if end is signal.SIGTERM else -end)
    wait_for_end(before | after)
