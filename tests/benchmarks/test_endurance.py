"""What holds out is watched on a real server process, on as little as it can; and what is counted as a failure."""

from __future__ import annotations

import asyncio
import random
import signal

import pytest

from benchmarks.endurance import disconnects, restarts, soak
from benchmarks.endurance import shutdown_client as ending
from benchmarks.endurance.disconnecting_client import When, leave
from benchmarks.endurance.leak_check import Held
from benchmarks.endurance.traffic_mix import Kind, bad
from benchmarks.harness.process import free_port
from benchmarks.harness.report import Figure, Measurement
from benchmarks.harness.server import classify, serving
from benchmarks.harness.workload import Workload
from benchmarks.load.http_client import message
from benchmarks.load.open_loop import Sample
from benchmarks.load.request import Request
from tests.benchmarks.conftest import SLOW_S
from tests.support.raw_http import connected, read_answer

OF_THE_MACHINE = ("last over first", "this over a cold start")
ASKED = Request("/", b"x" * 1000, "image/jpeg")


def medians(measurement: Measurement) -> dict[str, float]:
    """Of figures whose targets are all met, but for those of speed."""
    assert {"a picture", "processor", "engine"} <= set(measurement.facts)
    missed = {figure.name for figure in measurement.figures if figure.met is False}
    assert missed <= set(OF_THE_MACHINE)
    return {figure.name: figure.median for figure in measurement.figures}


def test_a_soak_answers_pictures_refuses_the_rest_and_leaves_nothing(tiny_work: Workload) -> None:
    found = medians(soak.measure(tiny_work, 2, 2))
    assert found["pictures that were sent"] > found["bad input that was sent"] > 0
    assert found["requests that were left"] > 0
    assert found["last over first"] > 0


def test_disconnects_come_a_third_each_and_leave_nothing(tiny_work: Workload) -> None:
    found = medians(disconnects.measure(tiny_work, 30, 4))
    assert [found[when] for when in When] == [10, 10, 10]
    assert found["noticed by the server before its answer"] > 0


def test_restarts_lose_nothing_and_leave_no_file(tiny_work: Workload) -> None:
    found = medians(restarts.measure(tiny_work, 1, 1, clients=4, load_s=0.3))
    assert found["pictures that were answered"] > 0
    assert found["SIGTERM to exit"] > 0
    assert found["start to ready after kill -9"] > 0


def test_bad_input_is_refused_with_the_status_that_says_why(tiny_work: Workload) -> None:
    statuses = []
    with serving(tiny_work) as ours:
        for request in bad(tiny_work.pictures[0]):
            with connected(ours.url) as connection:
                connection.sendall(message(ours.url, request))
                statuses.append(read_answer(connection).status)
    assert statuses == [422, 415, 400, 415, 413, 413]


def test_requests_that_a_killed_server_had_taken_are_counted_as_lost(
    tiny_work: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINY_DELAY_S", "60")
    with serving(tiny_work) as ours:
        messages = [message(ours.url, request) for request in classify(tiny_work.pictures)]
        process = ours.server.process
        met = ending.drive(ours.url, messages, 3, 0.5, lambda: process.send_signal(signal.SIGKILL))
        assert process.wait(10) == -signal.SIGKILL
    assert (met.answered, met.lost) == (0, 3)


@pytest.mark.parametrize("when", When)
def test_a_client_hangs_up_when_it_should(slow_url: str, when: When) -> None:
    chance = random.Random(0)
    assert asyncio.run(leave(slow_url, message(slow_url, ASKED), when, chance, SLOW_S / 2))


def test_a_client_that_had_its_answer_before_has_not_hung_up_in_the_queue(slow_url: str) -> None:
    chance = random.Random(0)
    chance.uniform = lambda *_: 10 * SLOW_S  # type: ignore[method-assign]
    assert not asyncio.run(leave(slow_url, message(slow_url, ASKED), When.QUEUE, chance, 1))


def test_nobody_hangs_up_where_nobody_listens() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    assert not asyncio.run(leave(url, message(url, ASKED), When.UPLOAD, random.Random(0), 0))


def by_name(figures: list[Figure]) -> dict[str, float]:
    return {figure.name: figure.median for figure in figures}


def test_a_soak_tells_failures_from_refusals() -> None:
    found = by_name(
        soak.judged(
            [
                (Kind.GOOD, Sample(0, 1, 200, False)),
                (Kind.GOOD, Sample(0, 1, 500, False)),
                (Kind.GOOD, Sample(0, 1, 503, True)),
                (Kind.GOOD, Sample(0, 1, 503, False)),  # does not say when to come back: not meant
                (Kind.GOOD, Sample(0, 1, 0, False)),
                (Kind.BAD, Sample(0, 1, 422, False)),
                (Kind.BAD, Sample(0, 1, 200, False)),
                (Kind.GONE, Sample(0, 1, 0, False)),
            ]
        )
    )
    assert found["answers of 5xx that are no deliberate 503"] == 2
    assert found["deliberate 503"] == 1
    assert found["of these, neither answered nor refused with 503"] == 3
    assert found["of this, not refused with 4xx"] == 1
    assert found["requests that were left"] == 1


def test_a_soak_compares_the_first_answers_with_the_last() -> None:
    sent = [(Kind.GOOD, Sample(0, second / 10, 200, False)) for second in range(1, 11)]
    found = by_name(soak.speed(sent, 10, 2))
    assert found["p99 of the first 2 s"] == pytest.approx(200, rel=0.01)
    assert found["last over first"] == pytest.approx(5, rel=0.01)


def test_a_soak_without_answers_at_its_end_is_not_fast() -> None:
    sent = [(Kind.GOOD, Sample(0, 1, 200 if number < 5 else 503, True)) for number in range(10)]
    assert by_name(soak.speed(sent, 10, 2))["last over first"] == float("inf")


@pytest.mark.parametrize(
    ("now", "is_no_more"),
    [
        (Held(0, 0, 9, 5, 900), True),
        (Held(1, 0, 10, 5, 100), False),
        (Held(0, 1, 10, 5, 100), False),
        (Held(0, 0, 11, 5, 100), False),
        (Held(0, 0, 10, 6, 100), False),
    ],
)
def test_what_is_held_is_compared_but_for_memory(now: Held, is_no_more: bool) -> None:
    assert now.no_more_than(Held(3, 3, 10, 5, 100)) == is_no_more
