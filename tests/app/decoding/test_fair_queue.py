"""The order in which the jobs of several requests are served."""

from __future__ import annotations

import random

import pytest

from app.decoding.fair_queue import FairQueue


def queue_of(*jobs: str) -> FairQueue[str]:
    """A queue of jobs, each named by the letter of its request and a number."""
    queue = FairQueue[str]()
    for job in jobs:
        queue.append(job[0], job)
    return queue


def pop_all(queue: FairQueue[str]) -> list[str]:
    """Remove all jobs in their order."""
    return [queue.pop() for _ in range(len(queue))]


def test_requests_take_turns_with_one_job_each() -> None:
    queue = queue_of("a1", "a2", "a3", "a4", "b1", "c1", "c2")
    assert pop_all(queue) == ["a1", "b1", "c1", "a2", "c2", "a3", "a4"]
    assert not queue


@pytest.mark.parametrize(("new", "served_before"), [(1, 1), (3, 3), (10, 4)])
def test_new_requests_go_first_but_at_most_four_in_a_row(new: int, served_before: int) -> None:
    queue = queue_of("m1", "m2")
    assert queue.pop() == "m1"
    for number in range(new):
        queue.append(number, f"n{number}")
    done = pop_all(queue)
    assert done.index("m2") == served_before
    assert [job for job in done if job.startswith("n")] == [f"n{number}" for number in range(new)]


def test_new_requests_go_on_after_the_served_ones_have_left() -> None:
    queue = queue_of("m1", "m2")
    assert queue.pop() == "m1"
    for number in range(10):
        queue.append(number, f"n{number}")
    assert [queue.pop() for _ in range(4)] == ["n0", "n1", "n2", "n3"]
    assert queue.remove("m", "m2")
    assert pop_all(queue) == [f"n{number}" for number in range(4, 10)]


def test_removed_jobs_are_not_served() -> None:
    queue = queue_of("s1", "a1", "a2", "a3", "b1")
    assert queue.pop() == "s1"
    assert queue.remove("a", "a2")
    assert queue.remove("b", "b1")
    assert not queue.remove("b", "b1")
    assert not queue.remove("unknown", "a1")
    assert not queue.remove("s", "s1"), "it was served"
    assert pop_all(queue) == ["a1", "a3"]


def test_clear_returns_all_jobs_and_forgets_their_requests() -> None:
    queue = queue_of("a1", "a2", "b1")
    assert queue.pop() == "a1"
    assert sorted(queue.clear()) == ["a2", "b1"]
    assert (len(queue), bool(queue), queue.clear()) == (0, False, [])
    queue.append("b", "b2")
    queue.append("a", "a3")
    assert pop_all(queue) == ["b2", "a3"]


@pytest.mark.parametrize("seed", range(20))
def test_every_job_is_served_removed_or_returned_exactly_once(seed: int) -> None:
    chance, queue = random.Random(seed), FairQueue[int]()
    done, removed = list[int](), list[int]()
    for job in range(500):
        queue.append(job % 7, job)
        earlier = chance.randrange(job + 1)
        if chance.random() < 0.3 and queue.remove(earlier % 7, earlier):
            removed.append(earlier)
        if chance.random() < 0.5 and queue:
            done.append(queue.pop())
        assert len(queue) == job + 1 - len(done) - len(removed)
    cleared = queue.clear()
    assert sorted([*done, *removed, *cleared]) == list(range(500))
    for request in range(7):
        jobs = [job for job in done if job % 7 == request]
        assert jobs == sorted(jobs), "the jobs of one request changed their order"
