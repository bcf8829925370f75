"""How large a batch may be, by how long it takes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.batching.policy import Sizes
from app.batching.scheduler import Batch, Entry, Line

EACH_S = 0.1


def taught(sizes: Sizes, *, beside: bool = False) -> Sizes:
    for size in (1, 2, 4, 8):
        sizes.observe(size, size * EACH_S, beside=beside)
    return sizes


def line(max_batch: int = 4, lanes: int = 2, max_run_s: float = math.inf) -> Line[int]:
    return Line(places=100, max_batch=max_batch, max_run_s=max_run_s, lanes=lanes, shares_cores=True)


def join(some: Line[int], count: int) -> None:
    for number in range(count):
        some.join(Entry(number, 0.0))


def taken(some: Line[int]) -> Batch[int]:
    batch = some.take(0.0)
    assert batch.entries
    return batch


def test_nothing_is_too_slow_before_anything_has_run() -> None:
    assert Sizes(16, max_run_s=0.001).full == 16


@pytest.mark.parametrize(("allowed_s", "full"), [(10, 16), (1.65, 16), (1.05, 10), (0.35, 3), (0.05, 1)])
def test_a_batch_takes_no_longer_than_it_may_but_has_one_item(allowed_s: float, full: int) -> None:
    assert taught(Sizes(16, max_run_s=allowed_s)).full == full


def test_it_has_a_size_that_runs_well() -> None:
    assert taught(Sizes(16, max_run_s=0.75, well=[1, 2, 4, 8, 16])).full == 4


def test_what_has_not_run_yet_is_estimated_by_the_lanes() -> None:
    alone, beside = taught(Sizes(8, lanes=2)), taught(Sizes(8, lanes=2), beside=True)
    assert alone.seconds(4, beside=True) == pytest.approx(2 * alone.seconds(4, beside=False))
    assert beside.seconds(4, beside=False) == pytest.approx(beside.seconds(4, beside=True) / 2)


def test_how_long_it_may_take_is_that_beside_others() -> None:
    assert taught(Sizes(16, max_run_s=0.85, lanes=2)).full == 4
    assert taught(Sizes(16, max_run_s=0.85, lanes=2), beside=True).full == 8


@given(
    st.lists(st.tuples(st.integers(1, 16), st.floats(0, 10), st.booleans()), max_size=30),
    st.floats(0.001, 5),
    st.integers(1, 4),
)
def test_there_is_always_a_size(batches: Sequence[tuple[int, float, bool]], allowed_s: float, lanes: int) -> None:
    sizes = Sizes(16, max_run_s=allowed_s, lanes=lanes, well=[1, 2, 4, 8, 16])
    for size, seconds, beside in batches:
        sizes.observe(size, seconds, beside=beside)
        assert sizes.full in (1, 2, 4, 8, 16)
        assert sizes.full == 1 or sizes.seconds(sizes.full, beside=lanes > 1) <= allowed_s


def test_full_batches_run_beside_each_other() -> None:
    some = line()
    join(some, 9)
    first, second = taken(some), taken(some)
    assert (first.beside, second.beside) == (True, True)
    assert some.due_in(0.0) is None, "the ninth would wait for its cores, and others that come for it"
    some.finish(first, 1.0)
    assert some.due_in(1.0) is None
    some.finish(second, 1.0)
    assert some.due_in(1.0) == 0
    assert not taken(some).beside, "it has all cores for itself"


@given(st.integers(8, 60), st.integers(2, 4))
def test_what_fills_a_batch_is_divided_so_that_every_lane_has_some(count: int, lanes: int) -> None:
    some = line(max_batch=8, lanes=lanes)
    join(some, count)
    sizes = list[int]()
    while len(sizes) < lanes and some.due_in(0.0) == 0:
        batch = taken(some)
        assert batch.beside
        sizes.append(len(batch.entries))
    assert min(sizes) >= min(8, count // lanes)
    assert max(sizes) <= 8
    if count < 0.75 * 8 * lanes:
        assert sum(sizes) == count


def test_what_will_fill_every_lane_is_not_divided() -> None:
    some = line(max_batch=8)
    join(some, 8)
    assert len(some.take(0.0, being_made=8).entries) == 8
    join(some, 7)
    assert some.due_in(0.0, being_made=1) is None, "the last one is being made"


def test_a_batch_begins_beside_one_that_is_no_larger() -> None:
    some = line(max_batch=8)
    join(some, 8)
    first, second = taken(some), taken(some)
    assert (len(first.entries), len(second.entries)) == (4, 4)
    some.finish(first, 1.0)
    join(some, 3)
    assert some.due_in(1.0) is None
    join(some, 1)
    assert some.due_in(1.0) == 0
    assert taken(some).beside


def test_nothing_runs_beside_one_that_has_all_cores() -> None:
    some = line()
    join(some, 3)
    alone = taken(some)
    assert not alone.beside
    join(some, 8)
    assert some.due_in(0.0) is None
    some.finish(alone, 1.0)
    assert some.due_in(1.0) == 0


def test_batches_of_devices_of_their_own_run_at_a_time_whatever_their_size() -> None:
    some: Line[int] = Line(places=100, max_batch=4, lanes=2)
    join(some, 1)
    taken(some)
    join(some, 1)
    assert some.due_in(0.0) == 0
    assert not taken(some).beside


def test_who_comes_later_is_expected_behind_all_lanes() -> None:
    some = line()
    for size in (1, 2, 4):
        some.sizes.observe(size, size * EACH_S, beside=True)
    join(some, 8)
    taken(some), taken(some)
    assert some.expected_s(4, 0.0) == pytest.approx(2 * 4 * EACH_S)


def test_who_comes_while_one_runs_on_its_share_is_expected_behind_it_unless_a_batch_is_full() -> None:
    some = line()
    for size in (1, 2, 4):
        some.sizes.observe(size, size * EACH_S, beside=True)
        some.sizes.observe(size, size * EACH_S / 2, beside=False)
    join(some, 8)
    taken(some)
    some.clear()
    assert some.expected_s(1, 0.1) == pytest.approx(4 * EACH_S - 0.1 + EACH_S / 2)
    assert some.expected_s(4, 0.1) == pytest.approx(4 * EACH_S)


def test_a_single_item_has_all_cores_however_slow_it_is() -> None:
    some = line(max_run_s=0.01)
    some.sizes.observe(1, 1.0, beside=False)
    assert some.sizes.full == 1
    join(some, 1)
    assert not taken(some).beside
