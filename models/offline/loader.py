"""Loading of many images from disk: decoded ahead by threads, in bounded memory, and returned in batches."""

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
from models.decoding.errors import ImageError
from models.preprocess import PreprocessSpec, prepare

BATCH_SIZE = 64

Key = TypeVar("Key", bound=Hashable)
T = TypeVar("T")
_END = object()


class Readable(Protocol):
    """An encoded image that is read on demand, such as a file path."""

    def read_bytes(self) -> bytes:
        """Read an image file without decoding it; raises OSError if it cannot be read."""


def load_batches(
    images: Mapping[Key, Readable],
    spec: PreprocessSpec,
    on_failure: Callable[[Key, str], None],
    batch_size: int = BATCH_SIZE,
) -> Iterator[tuple[list[Key], Pixels]]:
    """Decode and preprocess images in order; memory use does not depend on their number.

    Args:
        images: the images by key.
        spec: the preprocessing.
        on_failure: called with key and reason for each image that cannot be read; it is skipped.
        batch_size: maximum number of images per batch.

    Yields:
        Keys, and their pixels as uint8 [n, size, size, 3].
    """
    rows = _prepare_ahead(images, spec, on_failure, max_ahead=2 * batch_size)
    while batch := list(islice(rows, batch_size)):
        yield [key for key, _ in batch], np.stack([pixels for _, pixels in batch])


def prepare_each(
    images: Iterable[tuple[Key, Readable]], spec: PreprocessSpec, on_failure: Callable[[Key, str], None]
) -> Iterator[tuple[Key, Pixels]]:
    """Decode and preprocess images one by one in the caller's thread; skip failures like `load_batches`."""
    for key, image in images:
        try:
            yield key, _prepare(image, spec)
        except (ImageError, OSError) as error:
            on_failure(key, _reason(error))


def prefetch(values: Iterator[T]) -> Iterator[T]:
    """Yield the values, and compute the next one in a thread while the caller processes the current one."""
    with ThreadPoolExecutor(1) as thread:
        upcoming = thread.submit(next, values, _END)
        while (value := upcoming.result()) is not _END:
            upcoming = thread.submit(next, values, _END)
            yield cast(T, value)


def _prepare_ahead(
    images: Mapping[Key, Readable], spec: PreprocessSpec, on_failure: Callable[[Key, str], None], max_ahead: int
) -> Iterator[tuple[Key, Pixels]]:
    """Decode up to `max_ahead` images before they are consumed."""
    with ThreadPoolExecutor(available_cores()) as pool, ExitStack() as cleanup:
        cleanup.callback(pool.shutdown, wait=False, cancel_futures=True)  # if the caller stops early
        remaining = iter(images.items())
        window: deque[tuple[Key, Future[Pixels]]] = deque()
        while True:
            for key, image in islice(remaining, max_ahead - len(window)):
                window.append((key, pool.submit(_prepare, image, spec)))
            if not window:
                return
            key, future = window.popleft()
            try:
                yield key, future.result()
            except (ImageError, OSError) as error:
                on_failure(key, _reason(error))


def _prepare(image: Readable, spec: PreprocessSpec) -> Pixels:
    return prepare(image.read_bytes(), [spec])[spec]


def _reason(error: ImageError | OSError) -> str:
    return str(error) if isinstance(error, ImageError) else error.strerror or str(error)
