"""Loads the images of a dataset in batches. Unreadable images are an error, because labels are matched by position."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from models.arrays import Pixels
from models.offline import loader
from models.offline.loader import Key, Readable
from models.preprocess import PreprocessSpec
from training.errors import DatasetError

#: Files listed in an error message.
_MAX_FILES_SHOWN = 20


def prepared_batches(images: Mapping[Key, Readable], spec: PreprocessSpec) -> Iterator[tuple[list[Key], Pixels]]:
    """Yield batches of (keys, uint8 [n, size, size, 3]) in the order of `images`.

    Args:
        images: key -> stored image.
        spec: the preprocessing.

    Raises:
        DatasetError: after the last batch, if any image could not be read; lists them.
    """
    with raise_for_unreadable(images) as on_failure:
        yield from loader.load_batches(images, spec, on_failure)


@contextmanager
def raise_for_unreadable(
    images: Mapping[Key, Readable], copies: Mapping[Key, Sequence[Readable]] | None = None
) -> Iterator[Callable[[Key, str], None]]:
    """Collect unreadable images within this context, and raise one error for all of them at its end.

    Args:
        images: key -> stored image.
        copies: key -> other files with the same bytes. They are not read, but listed if the image is unreadable.

    Yields:
        A function to call with the key of each unreadable image and the reason.

    Raises:
        DatasetError: at the end, if the function was called; lists the images.
    """
    unreadable: list[str] = []

    def on_failure(key: Key, reason: str) -> None:
        unreadable.extend(f"{image}: {reason}" for image in (images[key], *(copies or {}).get(key, ())))

    yield on_failure
    if unreadable:
        shown = "\n  ".join(unreadable[:_MAX_FILES_SHOWN])
        raise DatasetError(f"{len(unreadable)} files are not readable images. Remove or replace them:\n  {shown}")
