"""Batches: each image once per pass, reproducible from seed and step, prefetched in order."""

from __future__ import annotations

import threading
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from models.preprocess import PreprocessSpec, to_input
from training.network.images.batches import DatasetShare, LabelledImages, make_batch, prefetch, shuffled_positions

_SPEC = PreprocessSpec(size=32, source=16)


def _size_of_spec(step: int) -> None:
    """Use the size of the spec in every step."""


def _images(count: int, chosen: range) -> LabelledImages:
    pixels = np.random.default_rng(count).integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)
    return LabelledImages(pixels, np.arange(count, dtype=np.int64), np.array(chosen, dtype=np.int64), _SPEC)


def _share(count: int, chosen: range, batch: int, *, augmented: bool = True) -> DatasetShare:
    return DatasetShare(_images(count, chosen), batch, crop_border=2 if augmented else 0, flip=augmented)


def test_pass_takes_each_image_once_and_each_pass_has_another_order() -> None:
    positions = np.concatenate([shuffled_positions(30, 7, step, (1, 0)) for step in range(10)])
    first, second = positions[:30], positions[30:60]
    assert sorted(first) == sorted(second) == list(range(30))
    assert list(first) != list(second)


def test_batch_may_be_larger_than_the_dataset() -> None:
    positions = shuffled_positions(3, 10, 0, (1, 0))
    assert [int((positions == position).sum()) for position in range(3)] in ([3, 3, 4], [3, 4, 3], [4, 3, 3])


def test_batch_depends_only_on_seed_and_step() -> None:
    shares = [_share(20, range(20), 6), _share(30, range(30), 4)]
    in_order = [make_batch(shares, 5, _size_of_spec, step) for step in range(8)]
    jumped_to = make_batch(shares, 5, _size_of_spec, 7)
    np.testing.assert_array_equal(in_order[7].pixels, jumped_to.pixels)
    for expected, labels in zip(in_order[7].labels, jumped_to.labels, strict=True):
        np.testing.assert_array_equal(expected, labels)
    assert not np.array_equal(make_batch(shares, 6, _size_of_spec, 7).pixels, jumped_to.pixels)


def test_batch_contains_datasets_in_order_at_the_network_size() -> None:
    batch = make_batch(
        [_share(20, range(20), 6, augmented=False), _share(30, range(30), 4, augmented=False)], 5, _size_of_spec, 0
    )
    assert batch.pixels.shape == (10, 32, 32, 3)
    assert batch.pixels.dtype == np.uint8
    assert [len(labels) for labels in batch.labels] == [6, 4]
    second = _images(30, range(30))
    expected = to_input(second.pixels[batch.labels[1][0]], _SPEC)
    np.testing.assert_array_equal(batch.pixels[6], expected)


def test_only_the_selected_images_are_used() -> None:
    share = _share(20, range(5, 15), 6)
    seen = {int(label) for step in range(10) for label in share.images_at(step, (0, 0))[1]}
    assert seen == set(range(5, 15))


def test_chunks_are_the_selected_images_in_order_as_served() -> None:
    images = _images(20, range(3, 13))
    chunks = list(images.chunks(4))
    assert [len(labels) for _, labels, _ in chunks] == [4, 4, 2]
    assert [int(label) for _, labels, _ in chunks for label in labels] == list(range(3, 13))
    np.testing.assert_array_equal(chunks[1][0][0], to_input(images.pixels[7], _SPEC))


def test_prefetch_keeps_order_and_stays_a_few_items_ahead() -> None:
    computed: list[int] = []
    third = threading.Event()

    def square(number: int) -> int:
        computed.append(number)
        if number == 2:
            third.set()
        return number * number

    values = prefetch(square, range(100))
    assert list(islice(values, 1)) == [0]
    assert third.wait(5)
    assert len(computed) == 3
    assert list(values) == [number * number for number in range(1, 100)]


def test_error_in_prefetch_reaches_the_caller() -> None:
    values = prefetch(lambda number: 1 // number, [1, 0])
    assert next(values) == 1
    with pytest.raises(ZeroDivisionError):
        next(values)


def test_batch_can_have_smaller_images() -> None:
    batch = make_batch([_share(20, range(20), 6, augmented=False)], 5, lambda step: 24 if step < 2 else None, 1)
    assert batch.pixels.shape == (6, 24, 24, 3)
    images = _images(20, range(20))
    expected = to_input(images.pixels[batch.labels[0][0]], _SPEC.model_copy(update={"size": 24}))
    np.testing.assert_array_equal(batch.pixels[0], expected)


def test_random_crop_of_each_image_is_resized() -> None:
    share = DatasetShare(_images(20, range(20)), 6, crop_border=0, flip=False, smallest_area=0.2)
    pixels, labels, _ = share.images_at(0, (5, 0))
    whole, same_labels, _ = replace(share, smallest_area=1).images_at(0, (5, 0))
    np.testing.assert_array_equal(labels, same_labels)
    assert all((part != image).any() for part, image in zip(pixels, whole, strict=True))
    np.testing.assert_array_equal(share.images_at(0, (5, 0))[0], pixels)
