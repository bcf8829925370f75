"""The images of a dataset in batches; one that cannot be read is an error, since the labels have to fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from models.arrays import Pixels
from models.offline import loader as streaming
from models.offline.loader import Key, Readable
from models.preprocess import PreprocessSpec
from training.errors import DatasetError

_SHOWN = 20


def prepared_batches(images: Mapping[Key, Readable], spec: PreprocessSpec) -> Iterator[tuple[list[Key], Pixels]]:
    """Batches of (keys, uint8 [n, size, size, 3]) in the order of `images`.

    Args:
        images: where each lies.
        spec: the preprocessing.

    Raises:
        DatasetError: at the end, if files could not be read; lists them.
    """
    with all_readable(images) as failed:
        yield from streaming.load_batches(images, spec, failed)


@contextmanager
def all_readable(
    images: Mapping[Key, Readable], copies: Mapping[Key, Sequence[Readable]] | None = None
) -> Iterator[Callable[[Key, str], None]]:
    """What is to be told of each image that cannot be read, and why.

    Args:
        images: where each lies.
        copies: other files with the same bytes, which are not read, but listed where those are broken.

    Raises:
        DatasetError: at the end, if any was told; lists them.
    """
    broken: list[str] = []

    def failed(key: Key, why: str) -> None:
        broken.extend(f"{image}: {why}" for image in (images[key], *(copies or {}).get(key, ())))

    yield failed
    if broken:
        shown = "\n  ".join(broken[:_SHOWN])
        raise DatasetError(f"{len(broken)} files are no images that can be read. Remove or replace them:\n  {shown}")
