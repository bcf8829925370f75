"""Mapping over a stream in threads: order, bounded memory, and threads that end."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from training.runtime.thread_map import stream_map, thread_map


def test_results_keep_their_order_and_few_items_are_taken_ahead() -> None:
    taken = 0

    def numbers() -> Iterator[int]:
        nonlocal taken
        for number in range(200):
            taken += 1
            yield number

    received = 0
    for result in stream_map(lambda number: 2 * number, numbers(), threads=3):
        assert result == 2 * received
        received += 1
        assert taken <= received + 2 * 3
    assert received == taken == 200
    assert list(stream_map(str, [], threads=3)) == []


def test_one_item_per_thread_runs_concurrently() -> None:
    barrier = threading.Barrier(3)
    assert list(stream_map(lambda _: barrier.wait(10), range(6), threads=3))


def test_error_ends_the_stream_and_its_threads() -> None:
    threads_before, started = threading.active_count(), []

    def work(number: int) -> int:
        started.append(number)
        return 10 // (number - 4)

    with pytest.raises(ZeroDivisionError):
        list(stream_map(work, range(1000), threads=2))
    assert len(started) < 20
    assert threading.active_count() == threads_before


def test_closing_the_stream_early_ends_its_threads() -> None:
    threads_before = threading.active_count()
    results = stream_map(str, range(1000), threads=2)
    assert next(results) == "0"
    results.close()  # type: ignore[attr-defined]
    assert threading.active_count() == threads_before


def test_thread_map_keeps_the_order_and_reports_progress() -> None:
    progress: list[int] = []
    assert thread_map(lambda number: number * 2, range(100), progress.append) == list(range(0, 200, 2))
    assert sum(progress) == 100


def test_thread_map_raises_errors() -> None:
    def fail(number: int) -> None:
        raise OSError(str(number))

    with pytest.raises(OSError, match="0"):
        thread_map(fail, range(100), lambda count: None)
