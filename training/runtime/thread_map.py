"""Many pieces of work in threads: reading, decoding and writing of images, features of a batch of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice
from typing import TypeVar

from models.console.progress import Advance
from models.cpu import available_cores

Item = TypeVar("Item")
Result = TypeVar("Result")

#: Items to a future: few enough for a smooth bar, enough that 100,000 items cost little memory.
_CHUNK = 32


def thread_map(function: Callable[[Item], Result], items: Sequence[Item], advance: Advance) -> list[Result]:
    """`[function(item) for item in items]`, a thread for each core.

    Args:
        function: releases the interpreter's lock for most of its time, as Pillow does.
        items: what it is called with.
        advance: is told how many are done, for a progress bar.
    """
    chunks = [items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK)]
    results: list[Result] = []
    with ThreadPoolExecutor(available_cores()) as pool:
        for part in pool.map(lambda chunk: [function(item) for item in chunk], chunks):
            results += part
            advance(len(part))
    return results


def stream_map(function: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """`map(function, items)` in threads; however many items there are, few results wait for the caller.

    Args:
        function: may raise, which ends it: items that no thread has begun are left.
        items: are taken as they are needed.
        threads: work side by side, and as many items more are ready for them.
    """
    with ThreadPoolExecutor(threads) as pool, ExitStack() as ended_early:
        ended_early.callback(pool.shutdown, wait=False, cancel_futures=True)
        left = iter(items)
        window: deque[Future[Result]] = deque(pool.submit(function, item) for item in islice(left, 2 * threads))
        while window:
            yield window.popleft().result()
            window.extend(pool.submit(function, item) for item in islice(left, 1))
