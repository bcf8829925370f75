"""Maps a function over many items in threads: reading, decoding and writing of images, features of batches."""

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

#: Items per future: few enough for a smooth progress bar, enough that 100,000 items need few futures.
_CHUNK_SIZE = 32


def thread_map(function: Callable[[Item], Result], items: Sequence[Item], advance: Advance) -> list[Result]:
    """Return `[function(item) for item in items]`, computed by one thread per core.

    Args:
        function: should release the GIL for most of its time, as Pillow does.
        items: its arguments.
        advance: called with the number of items done since the last call, for a progress bar.
    """
    chunks = [items[start : start + _CHUNK_SIZE] for start in range(0, len(items), _CHUNK_SIZE)]
    results: list[Result] = []
    with ThreadPoolExecutor(available_cores()) as pool:
        for chunk_results in pool.map(lambda chunk: [function(item) for item in chunk], chunks):
            results += chunk_results
            advance(len(chunk_results))
    return results


def stream_map(function: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """Return `map(function, items)`, computed in threads with bounded memory.

    Args:
        function: if it raises, the iterator raises too and items that no thread has started are dropped.
        items: consumed lazily, at most `2 * threads` ahead of the caller.
        threads: number of items computed concurrently; as many more are queued.
    """
    with ThreadPoolExecutor(threads) as pool, ExitStack() as on_exit:
        on_exit.callback(pool.shutdown, wait=False, cancel_futures=True)
        remaining = iter(items)
        window: deque[Future[Result]] = deque(pool.submit(function, item) for item in islice(remaining, 2 * threads))
        while window:
            yield window.popleft().result()
            window.extend(pool.submit(function, item) for item in islice(remaining, 1))
