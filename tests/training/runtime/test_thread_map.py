from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from training.runtime.thread_map import stream_map


def test_results_come_in_order_and_little_is_taken_ahead() -> None:
    taken = 0

    def numbers() -> Iterator[int]:
        nonlocal taken
        for number in range(200):
            taken += 1
            yield number

    seen = 0
    for result in stream_map(lambda number: 2 * number, numbers(), threads=3):
        assert result == 2 * seen
        seen += 1
        assert taken <= seen + 2 * 3
    assert seen == taken == 200
    assert list(stream_map(str, [], threads=3)) == []


def test_as_many_run_side_by_side_as_there_are_threads() -> None:
    together = threading.Barrier(3)
    assert list(stream_map(lambda _: together.wait(10), range(6), threads=3))


def test_an_error_ends_it_and_leaves_no_thread() -> None:
    before, begun = threading.active_count(), []

    def work(number: int) -> int:
        begun.append(number)
        return 10 // (number - 4)

    found: list[int] = []
    with pytest.raises(ZeroDivisionError):
        found.extend(stream_map(work, range(1000), threads=2))
    assert len(begun) < 20
    assert threading.active_count() == before


def test_a_caller_that_stops_early_leaves_no_thread() -> None:
    before = threading.active_count()
    results = stream_map(str, range(1000), threads=2)
    assert next(results) == "0"
    results.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before
