"""Batches that mix several datasets.

A batch depends only on the seed and on the step, so a fit that resumes from a checkpoint gets the same batches.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, TypeVar

import numpy as np

from models.arrays import Floats, Integers, Pixels
from models.decoding.resample import Box
from models.preprocess import PreprocessSpec, to_input
from training.network.images.augment import augment, random_boxes
from training.network.teacher import Teacher
from training.recipes.network import Warp

#: Batches that are prepared ahead of the fit. One keeps it busy, a second evens out a slow disk.
_PREFETCHED = 2

# Part of the seed of each random generator, so that no two of them draw the same numbers.
_SHUFFLE, _AUGMENT = 0, 1

Item = TypeVar("Item")
Result = TypeVar("Result")


class Examples(NamedTuple):
    """Images as the network receives them, and their targets."""

    pixels: Pixels
    """uint8 [n, side, side, 3]."""
    labels: Integers
    """int64 [n]."""
    teacher: Floats | None = None
    """Class probabilities by the teacher, float32 [n, classes]; None without a teacher."""


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Decoded images with labels, a selection of them, and how they become the network's input.

    Attributes:
        pixels: uint8 [all images, source, source, 3]; if memory-mapped, only the needed images are read.
        labels: int64 [all images].
        indices: selected images, int64 [images].
        spec: its second step is applied when images are used.
        teacher: computes targets for the same crops, at its own input size.
    """

    pixels: Pixels
    labels: Integers
    indices: Integers
    spec: PreprocessSpec
    teacher: Teacher | None = None

    def chunks(self, size: int) -> Iterator[Examples]:
        """Yield the selected images in order, not augmented, at most `size` at a time."""
        starts = range(0, len(self.indices), size)
        return prefetch(lambda start: self._chunk(self.indices[start : start + size]), starts)

    def examples(
        self, sources: Pixels, indices: Integers, boxes: Sequence[Box | None], size: int | None = None
    ) -> Examples:
        """Return augmented images with the targets of those at `indices`.

        Args:
            sources: the augmented images, uint8 [n, source, source, 3].
            indices: of the images, int64 [n].
            boxes: the part of each image that the network and the teacher see.
            size: side of the network's input, px; None: that of the spec.
        """
        pixels = self._to_inputs(sources, boxes, size or self.spec.size)
        teacher = self.teacher
        taught = teacher.probabilities(self._to_inputs(sources, boxes, teacher.size)) if teacher else None
        return Examples(pixels, self.labels[indices], taught)

    def _chunk(self, indices: Integers) -> Examples:
        return self.examples(self.pixels[indices], indices, [None] * len(indices))

    def _to_inputs(self, sources: Pixels, boxes: Sequence[Box | None], size: int) -> Pixels:
        spec = self.spec.model_copy(update={"size": size})
        return np.stack([to_input(source, spec, box) for source, box in zip(sources, boxes, strict=True)])


@dataclass(frozen=True, eq=False)
class DatasetShare:
    """The share of one dataset in every batch: the number of its images, and how they are augmented."""

    images: LabelledImages
    batch: int
    crop_border: int
    flip: bool
    smallest_area: float = 1
    warp: Warp | None = None

    def images_at(self, step: int, seed: Sequence[int], size: int | None = None) -> Examples:
        """Return its images in the batch of `step`, counted from 0, at `size` px if it is not None."""
        indices = self.images.indices[shuffled_positions(len(self.images.indices), self.batch, step, seed)]
        random = np.random.default_rng([*seed, _AUGMENT, step])
        augmented = augment(
            self.images.pixels[indices], random, crop_border=self.crop_border, flip=self.flip, warp=self.warp
        )
        boxes = random_boxes(len(augmented), augmented.shape[1], random, self.smallest_area)
        return self.images.examples(augmented, indices, boxes, size)


@dataclass(frozen=True, eq=False)
class TrainingBatch:
    """The images of one step, dataset after dataset.

    Attributes:
        pixels: uint8 [images, size, size, 3].
        labels: int64 labels of each dataset.
        teacher: class probabilities by the teacher, float32 [images, classes], of each dataset that it teaches.
    """

    pixels: Pixels
    labels: tuple[Integers, ...]
    teacher: tuple[Floats, ...] = ()


def make_batch(
    shares: Sequence[DatasetShare], seed: int, size_at: Callable[[int], int | None], step: int
) -> TrainingBatch:
    """Return the batch of a step, counted from 0; `size_at(step)` is the side of its images in px, if not None."""
    parts = [share.images_at(step, (seed, number), size_at(step)) for number, share in enumerate(shares)]
    return TrainingBatch(
        np.concatenate([part.pixels for part in parts]),
        tuple(part.labels for part in parts),
        tuple(part.teacher for part in parts if part.teacher is not None),
    )


def shuffled_positions(count: int, batch: int, step: int, seed: Sequence[int]) -> Integers:
    """Return the positions of `step` in an endless sequence of passes over `count` images, each in a new order.

    Returns:
        int64 [batch], from 0 to `count` - 1.
    """
    passes, positions = np.divmod(np.arange(step * batch, (step + 1) * batch, dtype=np.int64), count)
    orders = {number: _order_of_pass(count, number, seed) for number in np.unique(passes)}
    return np.array([orders[number][position] for number, position in zip(passes, positions, strict=True)])


def _order_of_pass(count: int, number: int, seed: Sequence[int]) -> Integers:
    return np.random.default_rng([*seed, _SHUFFLE, number]).permutation(count)


def prefetch(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield `function(item)` in order, computed in a thread a few items ahead of the caller."""
    with ThreadPoolExecutor(1) as thread:
        remaining = iter(items)
        window: deque[Future[Result]] = deque(thread.submit(function, item) for item in islice(remaining, _PREFETCHED))
        while window:
            result = window.popleft().result()
            window.extend(thread.submit(function, item) for item in islice(remaining, 1))
            yield result
