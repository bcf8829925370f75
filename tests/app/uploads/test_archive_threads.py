"""Threads for archives: requests take turns, and what is cancelled stops after its turn."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from app.errors import MalformedBody, Overloaded
from app.uploads import archive_threads
from app.uploads.archive_threads import ArchiveThreads
from models.cpu import available_cores
from tests.support.polling import wait_until

pytestmark = pytest.mark.anyio


@pytest.fixture
async def threads() -> AsyncIterator[ArchiveThreads]:
    threads = ArchiveThreads()
    yield threads
    threads.close()


def names() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("unpack")]


class Slow:
    """An iterator without an end; each item takes a turn of processor time."""

    def __init__(self) -> None:
        self.count = 0

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        end = time.monotonic() + archive_threads._TURN_S
        while time.monotonic() < end:
            pass
        self.count += 1
        return self.count


async def test_all_items_are_collected_in_their_order(threads: ArchiveThreads) -> None:
    assert await threads.collect(iter(range(1000))) == list(range(1000))
    assert await threads.collect(iter(())) == []
    assert len(names()) == 1


@pytest.mark.parametrize(("cores", "count"), [(1, 1), (2, 1), (3, 1), (4, 2), (8, 4)])
async def test_there_is_one_thread_for_two_cores(monkeypatch: pytest.MonkeyPatch, cores: int, count: int) -> None:
    monkeypatch.setattr(archive_threads, "available_cores", lambda: cores)
    threads, entered, go = ArchiveThreads(), threading.Semaphore(0), threading.Event()

    def block() -> Iterator[int]:
        entered.release()
        assert go.wait(30)
        yield 1

    tasks = [asyncio.create_task(threads.collect(block())) for _ in range(count + 2)]
    for _ in range(count):
        assert await asyncio.to_thread(entered.acquire, timeout=30)
    assert len(names()) == count
    go.set()
    assert await asyncio.gather(*tasks) == [[1]] * len(tasks)
    threads.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads")
async def test_threads_have_a_lower_priority_than_the_event_loop(threads: ArchiveThreads) -> None:
    def priority() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    assert await threads.collect(priority() for _ in "a") == [min(19, priority() + 3)]


async def test_errors_of_the_iterator_are_raised(threads: ArchiveThreads) -> None:
    def damaged() -> Iterator[int]:
        yield 1
        raise MalformedBody("damaged")

    with pytest.raises(MalformedBody):
        await threads.collect(damaged())


async def test_long_requests_delay_a_short_one_by_a_turn_each(threads: ArchiveThreads) -> None:
    slow = [Slow() for _ in range(8)]
    tasks = [asyncio.create_task(threads.collect(item)) for item in slow]
    await asyncio.to_thread(wait_until, lambda: all(item.count for item in slow))
    before = sum(item.count for item in slow)
    assert await threads.collect(iter([1])) == [1]
    turns = sum(item.count for item in slow) - before
    assert turns <= 2 * (len(slow) + max(1, available_cores() // 2)), "the short request waited for more than its turn"
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_cancelled_request_gets_no_further_turn(threads: ArchiveThreads) -> None:
    slow = Slow()
    task = asyncio.create_task(threads.collect(slow))
    await asyncio.to_thread(wait_until, lambda: slow.count > 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    stopped = slow.count
    for _ in range(available_cores()):
        await threads.collect(iter([1]))  # behind the turn that may still run
    assert slow.count <= stopped + 1


async def test_too_many_requests_are_rejected_until_others_end(threads: ArchiveThreads) -> None:
    admitted = [threads.admit() for _ in range(64)]
    for context in admitted:
        context.__enter__()
    with pytest.raises(Overloaded) as error, threads.admit():
        pass
    assert error.value.retry_after_s == 1
    admitted[0].__exit__(None, None, None)
    with threads.admit():
        assert threads.requests == 64
    for context in admitted[1:]:
        context.__exit__(None, None, None)
    assert threads.requests == 0


async def test_closing_leaves_no_thread() -> None:
    threads = ArchiveThreads()
    slow = Slow()
    tasks = [asyncio.create_task(threads.collect(slow if index == 0 else Slow())) for index in range(4)]
    await asyncio.to_thread(wait_until, lambda: slow.count > 0)
    threads.close()
    assert not names()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, BaseException) for result in results)
