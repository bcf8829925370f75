"""Many small pieces of work in threads: reading, decoding and writing of images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from models.cores import available_cores
from models.progress import Advance

Item = TypeVar("Item")
Result = TypeVar("Result")

#: Items to a future: few enough for a smooth bar, enough that 100,000 items cost little memory.
_CHUNK = 32


def in_threads(function: Callable[[Item], Result], items: Sequence[Item], advance: Advance) -> list[Result]:
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
