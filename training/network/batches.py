"""Batches that mix several datasets.

What is in the batch of a step depends on the seed and on the step alone, so a fit that goes on from a
checkpoint sees exactly what it would have seen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np

from models.arrays import Pixels
from models.decoding.resize import Box
from models.heads import Integers
from models.preprocess import PreprocessSpec, to_input
from training.network.augment import Warp, augment, random_boxes

#: Batches made ahead of the step that needs them; one would do, a second evens out a slow disk.
_AHEAD = 2

Item = TypeVar("Item")
Made = TypeVar("Made")


@dataclass(frozen=True, eq=False)
class Images:
    """Some of the labelled images of a source, and how they become the network's input.

    Attributes:
        pixels: uint8 [all, source, source, 3]; may lie on disk, only what is needed is read.
        labels: int64 [all].
        indices: which of all are meant, int64 [images].
        spec: its second step is applied to images as they are used.
    """

    pixels: Pixels
    labels: Integers
    indices: Integers
    spec: PreprocessSpec

    def chunks(self, size: int) -> Iterator[tuple[Pixels, Integers]]:
        """All of them in order, as they are: (uint8 [n, side, side, 3], int64 [n]) of up to `size` images."""
        starts = range(0, len(self.indices), size)
        return ahead(lambda start: self._chunk(self.indices[start : start + size]), starts)

    def _chunk(self, indices: Integers) -> tuple[Pixels, Integers]:
        return _to_inputs(self.pixels[indices], self.spec, [None] * len(indices)), self.labels[indices]


@dataclass(frozen=True, eq=False)
class DatasetShare:
    """A dataset's part in every batch: how many of its images, and how they are varied."""

    images: Images
    batch: int
    crop_border: int
    flip: bool
    smallest_area: float = 1
    warp: Warp | None = None

    def at(self, step: int, seed: Sequence[int], size: int | None = None) -> tuple[Pixels, Integers]:
        """Its images in the batch of `step`, counted from 0: (uint8 [batch, size, size, 3], int64 [batch])."""
        indices = self.images.indices[shuffled(len(self.images.indices), self.batch, step, seed)]
        random = np.random.default_rng([*seed, _AUGMENT, step])
        varied = augment(
            self.images.pixels[indices], random, crop_border=self.crop_border, flip=self.flip, warp=self.warp
        )
        boxes = random_boxes(len(varied), varied.shape[1], random, self.smallest_area)
        spec = self.images.spec.model_copy(update={"size": size or self.images.spec.size})
        return _to_inputs(varied, spec, boxes), self.images.labels[indices]


@dataclass(frozen=True, eq=False)
class Batch:
    """One step's images, dataset after dataset: uint8 [images, size, size, 3]; int64 labels of each dataset."""

    pixels: Pixels
    labels: tuple[Integers, ...]


def mixed(shares: Sequence[DatasetShare], seed: int, size_at: Callable[[int], int | None], step: int) -> Batch:
    """The batch of a step, counted from 0, with images of `size_at(step)` px where that says any."""
    parts = [share.at(step, (seed, number), size_at(step)) for number, share in enumerate(shares)]
    return Batch(np.concatenate([pixels for pixels, _ in parts]), tuple(labels for _, labels in parts))


# What a random generator is for is part of its seed, so that no two of them draw the same numbers.
_SHUFFLE, _AUGMENT = 0, 1


def shuffled(count: int, batch: int, step: int, seed: Sequence[int]) -> Integers:
    """The places of `step` in an endless row of passes over `count` images, each pass in a new order.

    Returns:
        int64 [batch], each at least 0 and below `count`.
    """
    passes, places = np.divmod(np.arange(step * batch, (step + 1) * batch, dtype=np.int64), count)
    order = {number: _order(count, number, seed) for number in np.unique(passes)}
    return np.array([order[number][place] for number, place in zip(passes, places, strict=True)])


def _order(count: int, number: int, seed: Sequence[int]) -> Integers:
    return np.random.default_rng([*seed, _SHUFFLE, number]).permutation(count)


def ahead(make: Callable[[Item], Made], items: Iterable[Item]) -> Iterator[Made]:
    """Make things in order, in a thread beside their user, never more than a few before their time."""
    with ThreadPoolExecutor(1) as thread:
        todo = iter(items)
        window: deque[Future[Made]] = deque(thread.submit(make, item) for item in islice(todo, _AHEAD))
        while window:
            made = window.popleft().result()
            window.extend(thread.submit(make, item) for item in islice(todo, 1))
            yield made


def _to_inputs(sources: Pixels, spec: PreprocessSpec, boxes: Sequence[Box | None]) -> Pixels:
    return np.stack([to_input(source, spec, box) for source, box in zip(sources, boxes, strict=True)])
