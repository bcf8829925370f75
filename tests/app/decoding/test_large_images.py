"""Pictures that take seconds to decode, sent by many at once to a server process, beside clients with small ones."""

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
from tests.support.decode_worker import children, runs
from tests.support.encoded_images import encoded, veiled_png
from tests.support.machine import undisturbed
from tests.support.processes import Answer, ServerProcess, server
from tests.support.raw_http import exchange, post

CLIENTS = 8
SLOWEST_LARGE_S, SLOWEST_SMALL_S = 3.0, 1.0


@dataclass(frozen=True)
class Timed:
    """An answer, and the seconds from the first byte of its request."""

    answer: Answer
    seconds: float


@pytest.fixture
def process(tiny_store: Path) -> Iterator[ServerProcess]:
    with server("tests.support.tiny_server", APP_STORE=str(tiny_store)) as started:
        yield started


def timed(address: str, request: bytes) -> Timed:
    began = time.monotonic()
    return Timed(exchange(address, request), time.monotonic() - began)


def slowest(answers: list[Timed]) -> float:
    return max(each.seconds for each in answers)


@contextmanager
def small_ones(address: str) -> Iterator[list[Timed]]:
    """What a client gets that sends small pictures one after the other, until the block ends."""
    request, answers, over = post(encoded("green"), "image/png"), list[Timed](), threading.Event()

    def ask() -> None:
        while not over.is_set():
            answers.append(timed(address, request))
            time.sleep(0.02)

    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask)
        try:
            yield answers
        finally:
            over.set()
            asked.result(60)


def beside(address: str, work: Callable[[], list[Timed]]) -> tuple[list[Timed], list[Timed]]:
    with small_ones(address) as small:
        return work(), small


@pytest.mark.timeout(300)
@pytest.mark.parametrize("megapixels", [12, 45])
def test_many_large_pictures_are_answered_or_refused_soon_and_hold_up_nobody(
    process: ServerProcess, megapixels: int
) -> None:
    address, large = process.address(), post(veiled_png(megapixels), "image/png")

    def all_at_once() -> list[Timed]:
        with ThreadPoolExecutor(CLIENTS) as pool:
            return list(pool.map(lambda _: timed(address, large), range(2 * CLIENTS)))

    answers, small = undisturbed(
        lambda: beside(address, all_at_once),
        lambda found: slowest(found[0]) < SLOWEST_LARGE_S and slowest(found[1]) < SLOWEST_SMALL_S,
    )
    assert {each.answer.status for each in answers} == {200, 503}
    assert all(int(each.answer.headers["Retry-After"]) >= 1 for each in answers if each.answer.status == 503)
    assert slowest(answers) < SLOWEST_LARGE_S
    assert [each.answer.json["predictions"][0]["label"] for each in small] == ["green"] * len(small)
    assert slowest(small) < SLOWEST_SMALL_S


@pytest.mark.timeout(300)
@pytest.mark.parametrize("megapixels", [12, 45])
def test_a_batch_that_takes_many_seconds_holds_up_nobody(process: ServerProcess, megapixels: int) -> None:
    address, picture = process.address(), veiled_png(megapixels)
    part = b'--b\r\nContent-Disposition: form-data; name="files"; filename="f"\r\n\r\n' + picture + b"\r\n"
    batch = post(part * CLIENTS + b"--b--\r\n", "multipart/form-data; boundary=b", "/v1/classify/batch")
    (answer,), small = undisturbed(
        lambda: beside(address, lambda: [timed(address, batch)]),
        lambda found: slowest(found[1]) < SLOWEST_SMALL_S,
    )
    assert [item["result"]["predictions"][0]["label"] for item in answer.answer.json["items"]] == ["red"] * CLIENTS
    assert {each.answer.status for each in small} == {200}
    assert slowest(small) < SLOWEST_SMALL_S


def await_end(processes: set[int]) -> None:
    until = time.monotonic() + 30
    while any(map(runs, processes)):
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_processes_that_die_cost_no_picture_and_none_outlives_the_server(tiny_store: Path, end: signal.Signals) -> None:
    with server("tests.support.tiny_server", APP_STORE=str(tiny_store)) as process:
        address, picture = process.address(), post(encoded("green"), "image/png")
        before = children(process.process.pid)
        assert len(before) == available_cores(), "it was ready before they were"
        for each in before:
            os.kill(each, signal.SIGKILL)
        await_end(before)
        answers = [exchange(address, picture) for _ in range(4)]
        assert [answer.json["predictions"][0]["label"] for answer in answers] == ["green"] * 4
        after = children(process.process.pid) - before
        assert after
        process.process.send_signal(end)
        assert process.exit_code() == (0 if end is signal.SIGTERM else -end)
    await_end(before | after)
