"""Many images from disk, prepared in threads a bounded number ahead and handed on in batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice
from typing import Protocol, TypeVar, cast

import numpy as np

from models.arrays import Pixels
from models.cpu import available_cores
from models.errors import ImageError
from models.preprocess import PreprocessSpec, prepare

BATCH = 64

Key = TypeVar("Key", bound=Hashable)
T = TypeVar("T")
_END = object()


class Readable(Protocol):
    """An image that can be read when it is needed, such as a file."""

    def read_bytes(self) -> bytes:
        """The encoded image; raises OSError."""


def load_batches(
    images: Mapping[Key, Readable], spec: PreprocessSpec, failed: Callable[[Key, str], None], size: int = BATCH
) -> Iterator[tuple[list[Key], Pixels]]:
    """Prepare images in their order; memory does not grow with their number.

    Args:
        images: where each lies.
        spec: the preprocessing.
        failed: is told of each image that cannot be read, and why; it is left out.
        size: of a batch.

    Yields:
        up to `size` keys, and their pixels as uint8 [n, size, size, 3].
    """
    rows = _prepared(images, spec, failed, ahead=2 * size)
    while batch := list(islice(rows, size)):
        yield [key for key, _ in batch], np.stack([pixels for _, pixels in batch])


def prepared(
    images: Iterable[tuple[Key, Readable]], spec: PreprocessSpec, failed: Callable[[Key, str], None]
) -> Iterator[tuple[Key, Pixels]]:
    """Prepare images one after the other, in the caller's thread; `failed` is told of each that cannot be read."""
    for key, image in images:
        try:
            yield key, _prepare(image, spec)
        except (ImageError, OSError) as error:
            failed(key, _reason(error))


def prefetch(values: Iterator[T]) -> Iterator[T]:
    """The same values; while the caller works on one, a thread makes the next."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, values, _END)
        while (value := coming.result()) is not _END:
            coming = thread.submit(next, values, _END)
            yield cast(T, value)


def _prepared(
    images: Mapping[Key, Readable], spec: PreprocessSpec, failed: Callable[[Key, str], None], ahead: int
) -> Iterator[tuple[Key, Pixels]]:
    """Decode so many ahead at most."""
    with ThreadPoolExecutor(available_cores()) as pool, ExitStack() as ended_early:
        ended_early.callback(pool.shutdown, wait=False, cancel_futures=True)
        todo = iter(images.items())
        window: deque[tuple[Key, Future[Pixels]]] = deque()
        while True:
            for key, image in islice(todo, ahead - len(window)):
                window.append((key, pool.submit(_prepare, image, spec)))
            if not window:
                return
            key, future = window.popleft()
            try:
                yield key, future.result()
            except (ImageError, OSError) as error:
                failed(key, _reason(error))


def _prepare(image: Readable, spec: PreprocessSpec) -> Pixels:
    return prepare(image.read_bytes(), [spec])[spec]


def _reason(error: ImageError | OSError) -> str:
    return str(error) if isinstance(error, ImageError) else error.strerror or str(error)
