"""Threads that serve many in turn."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from app.errors import Closed
from app.turns import Turns

WAIT_S = 20


class Record:
    """What was done, in its order; can hold the threads up."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.began, self.go = threading.Semaphore(0), threading.Event()

    def run(self, job: str) -> None:
        self.began.release()
        assert self.go.wait(WAIT_S)
        self.done.append(job)


@contextmanager
def held_up(threads: int = 1) -> Iterator[tuple[Turns[str], Record]]:
    """Turns whose threads are all at a job of somebody else until the record lets them go."""
    record = Record()
    turns = Turns(record.run, threads, "turns-of-a-test")
    for _ in range(threads):
        turns.join("somebody", "first")
    for _ in range(threads):
        assert record.began.acquire(timeout=WAIT_S)
    try:
        yield turns, record
    finally:
        record.go.set()
        turns.close()


def finish(turns: Turns[str], record: Record, jobs: int) -> list[str]:
    record.go.set()
    for _ in range(jobs):
        assert record.began.acquire(timeout=WAIT_S)
    turns.close()
    for thread in threading.enumerate():
        if thread.name.startswith("turns-of-a-test"):
            thread.join(WAIT_S)
    return record.done


def test_who_has_many_jobs_has_one_turn_at_a_time() -> None:
    with held_up() as (turns, record):
        for job in ("a1", "a2", "a3", "a4"):
            turns.join("a", job)
        turns.join("b", "b1")
        for job in ("c1", "c2"):
            turns.join("c", job)
        assert finish(turns, record, 7) == ["first", "a1", "b1", "c1", "a2", "c2", "a3", "a4"]


@pytest.mark.parametrize(("new", "before"), [(1, 1), (3, 3), (10, 4)])
def test_who_is_new_goes_before_one_who_had_a_turn_but_not_for_ever(new: int, before: int) -> None:
    record = Record()
    turns = Turns(record.run, 1, "turns-of-a-test")
    turns.join("many", "m1")
    turns.join("many", "m2")
    assert record.began.acquire(timeout=WAIT_S)  # m1 runs, and m2 waits behind it
    for number in range(new):
        turns.join(number, f"n{number}")
    done = finish(turns, record, new + 1)
    assert done.index("m2") == 1 + before
    assert [job for job in done if job.startswith("n")] == [f"n{number}" for number in range(new)]


def test_when_all_who_had_a_turn_have_left_those_who_are_new_go_on() -> None:
    record = Record()
    turns = Turns(record.run, 1, "turns-of-a-test")
    turns.join("many", "m1")
    turns.join("many", "m2")
    assert record.began.acquire(timeout=WAIT_S)
    for number in range(10):
        turns.join(number, f"n{number}")
    turns._new_in_a_row = 4
    assert turns.leave("many", "m2")
    assert len(finish(turns, record, 10)) == 11


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_died_is_told() -> None:
    def run(job: str) -> None:
        raise SystemError(job)

    turns = Turns(run, 2, "turns-of-a-test")
    assert turns.is_alive
    turns.join("a", "a1")
    until = time.monotonic() + WAIT_S
    while turns.is_alive and time.monotonic() < until:
        time.sleep(0.001)
    assert not turns.is_alive
    turns.close()


def test_who_leaves_is_not_served_and_the_others_are() -> None:
    with held_up() as (turns, record):
        for job in ("a1", "a2", "a3"):
            turns.join("a", job)
        turns.join("b", "b1")
        assert turns.leave("a", "a2")
        assert turns.leave("b", "b1")
        assert not turns.leave("b", "b1")
        assert not turns.leave("nobody", "a1")
        assert not turns.leave("somebody", "first"), "it runs"
        assert finish(turns, record, 2) == ["first", "a1", "a3"]


def test_when_it_closes_it_gives_back_what_waits_and_takes_nothing_more() -> None:
    with held_up() as (turns, record):
        turns.join("a", "a1")
        turns.join("b", "b1")
        assert turns.close() == ["a1", "b1"]
        with pytest.raises(Closed):
            turns.join("a", "a2")
        assert finish(turns, record, 0) == ["first"]


@pytest.mark.parametrize("seed", range(20))
def test_every_job_is_done_once_or_left_or_given_back(seed: int) -> None:
    chance, lock, done = random.Random(seed), threading.Lock(), Counter[int]()

    def run(job: int) -> None:
        with lock:
            done[job] += 1

    turns = Turns(run, 3, "turns-of-a-test")
    left = []
    for job in range(500):
        turns.join(job % 7, job)
        earlier = chance.randrange(job + 1)
        if chance.random() < 0.3 and turns.leave(earlier % 7, earlier):
            left.append(earlier)
    given_back = turns.close()
    for thread in threading.enumerate():
        if thread.name.startswith("turns-of-a-test"):
            thread.join(WAIT_S)
    assert sorted([*done.elements(), *left, *given_back]) == list(range(500))
