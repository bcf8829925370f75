"""Many who are served in turn."""

from __future__ import annotations

import random

import pytest

from app.decoding.fair_queue import FairQueue


def turns_of(*jobs: str) -> FairQueue[str]:
    """Jobs that wait, each named by whose it is and a number."""
    turns = FairQueue[str]()
    for job in jobs:
        turns.append(job[0], job)
    return turns


def served(turns: FairQueue[str]) -> list[str]:
    """All that is left, in its order."""
    return [turns.pop() for _ in range(len(turns))]


def test_who_has_many_jobs_has_one_turn_at_a_time() -> None:
    turns = turns_of("a1", "a2", "a3", "a4", "b1", "c1", "c2")
    assert served(turns) == ["a1", "b1", "c1", "a2", "c2", "a3", "a4"]
    assert not turns


@pytest.mark.parametrize(("new", "before"), [(1, 1), (3, 3), (10, 4)])
def test_who_is_new_goes_before_one_who_had_a_turn_but_not_for_ever(new: int, before: int) -> None:
    turns = turns_of("m1", "m2")
    assert turns.pop() == "m1"
    for number in range(new):
        turns.append(number, f"n{number}")
    done = served(turns)
    assert done.index("m2") == before
    assert [job for job in done if job.startswith("n")] == [f"n{number}" for number in range(new)]


def test_when_all_who_had_a_turn_have_left_those_who_are_new_go_on() -> None:
    turns = turns_of("m1", "m2")
    assert turns.pop() == "m1"
    for number in range(10):
        turns.append(number, f"n{number}")
    assert [turns.pop() for _ in range(4)] == ["n0", "n1", "n2", "n3"]
    assert turns.remove("m", "m2")
    assert served(turns) == [f"n{number}" for number in range(4, 10)]


def test_who_leaves_is_not_served_and_the_others_are() -> None:
    turns = turns_of("s1", "a1", "a2", "a3", "b1")
    assert turns.pop() == "s1"
    assert turns.remove("a", "a2")
    assert turns.remove("b", "b1")
    assert not turns.remove("b", "b1")
    assert not turns.remove("nobody", "a1")
    assert not turns.remove("s", "s1"), "it was served"
    assert served(turns) == ["a1", "a3"]


def test_when_it_is_cleared_it_gives_back_what_waits_and_knows_nobody_any_more() -> None:
    turns = turns_of("a1", "a2", "b1")
    assert turns.pop() == "a1"
    assert sorted(turns.clear()) == ["a2", "b1"]
    assert (len(turns), bool(turns), turns.clear()) == (0, False, [])
    turns.append("b", "b2")
    turns.append("a", "a3")
    assert served(turns) == ["b2", "a3"]


@pytest.mark.parametrize("seed", range(20))
def test_every_job_is_served_once_or_has_left_or_is_given_back(seed: int) -> None:
    chance, turns = random.Random(seed), FairQueue[int]()
    done, left = list[int](), list[int]()
    for job in range(500):
        turns.append(job % 7, job)
        earlier = chance.randrange(job + 1)
        if chance.random() < 0.3 and turns.remove(earlier % 7, earlier):
            left.append(earlier)
        if chance.random() < 0.5 and turns:
            done.append(turns.pop())
        assert len(turns) == job + 1 - len(done) - len(left)
    given_back = turns.clear()
    assert sorted([*done, *left, *given_back]) == list(range(500))
    for whose in range(7):
        own = [job for job in done if job % 7 == whose]
        assert own == sorted(own), "somebody's jobs changed their order"
