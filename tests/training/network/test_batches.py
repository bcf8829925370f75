from __future__ import annotations

import threading
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from models.preprocess import PreprocessSpec, to_input
from training.network.batches import DatasetShare, Images, ahead, mixed, shuffled

_SPEC = PreprocessSpec(size=32, source=16)


def _own_size(step: int) -> None:
    """Every step at the size of the spec."""


def _images(count: int, chosen: range) -> Images:
    pixels = np.random.default_rng(count).integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)
    return Images(pixels, np.arange(count, dtype=np.int64), np.array(chosen, dtype=np.int64), _SPEC)


def _share(count: int, chosen: range, batch: int, *, varied: bool = True) -> DatasetShare:
    return DatasetShare(_images(count, chosen), batch, crop_border=2 if varied else 0, flip=varied)


def test_a_pass_takes_each_image_once_and_the_next_one_in_another_order() -> None:
    places = np.concatenate([shuffled(30, 7, step, (1, 0)) for step in range(10)])
    first, second = places[:30], places[30:60]
    assert sorted(first) == sorted(second) == list(range(30))
    assert list(first) != list(second)


def test_a_batch_may_be_larger_than_the_dataset() -> None:
    places = shuffled(3, 10, 0, (1, 0))
    assert [int((places == place).sum()) for place in range(3)] in ([3, 3, 4], [3, 4, 3], [4, 3, 3])


def test_a_batch_depends_on_the_seed_and_the_step_alone() -> None:
    shares = [_share(20, range(20), 6), _share(30, range(30), 4)]
    in_order = [mixed(shares, 5, _own_size, step) for step in range(8)]
    jumped_to = mixed(shares, 5, _own_size, 7)
    np.testing.assert_array_equal(in_order[7].pixels, jumped_to.pixels)
    for expected, labels in zip(in_order[7].labels, jumped_to.labels, strict=True):
        np.testing.assert_array_equal(expected, labels)
    assert not np.array_equal(mixed(shares, 6, _own_size, 7).pixels, jumped_to.pixels)


def test_datasets_stand_one_after_another_at_the_size_of_the_network() -> None:
    batch = mixed([_share(20, range(20), 6, varied=False), _share(30, range(30), 4, varied=False)], 5, _own_size, 0)
    assert batch.pixels.shape == (10, 32, 32, 3)
    assert batch.pixels.dtype == np.uint8
    assert [len(labels) for labels in batch.labels] == [6, 4]
    second = _images(30, range(30))
    expected = to_input(second.pixels[batch.labels[1][0]], _SPEC)
    np.testing.assert_array_equal(batch.pixels[6], expected)


def test_only_the_chosen_images_are_used() -> None:
    share = _share(20, range(5, 15), 6)
    seen = {int(label) for step in range(10) for label in share.at(step, (0, 0))[1]}
    assert seen == set(range(5, 15))


def test_chunks_give_the_chosen_images_in_order_as_serving_would_see_them() -> None:
    images = _images(20, range(3, 13))
    chunks = list(images.chunks(4))
    assert [len(labels) for _, labels in chunks] == [4, 4, 2]
    assert [int(label) for _, labels in chunks for label in labels] == list(range(3, 13))
    np.testing.assert_array_equal(chunks[1][0][0], to_input(images.pixels[7], _SPEC))


def test_things_are_made_in_order_and_only_a_few_ahead() -> None:
    made: list[int] = []
    third = threading.Event()

    def make(number: int) -> int:
        made.append(number)
        if number == 2:
            third.set()
        return number * number

    things = ahead(make, range(100))
    assert list(islice(things, 1)) == [0]
    assert third.wait(5)
    assert len(made) == 3
    assert list(things) == [number * number for number in range(1, 100)]


def test_an_error_while_making_reaches_the_user() -> None:
    things = ahead(lambda number: 1 // number, [1, 0])
    assert next(things) == 1
    with pytest.raises(ZeroDivisionError):
        next(things)


def test_a_step_may_take_its_images_smaller() -> None:
    batch = mixed([_share(20, range(20), 6, varied=False)], 5, lambda step: 24 if step < 2 else None, 1)
    assert batch.pixels.shape == (6, 24, 24, 3)
    images = _images(20, range(20))
    expected = to_input(images.pixels[batch.labels[0][0]], _SPEC.model_copy(update={"size": 24}))
    np.testing.assert_array_equal(batch.pixels[0], expected)


def test_a_random_part_of_each_image_is_enlarged() -> None:
    share = DatasetShare(_images(20, range(20)), 6, crop_border=0, flip=False, smallest_area=0.2)
    pixels, labels = share.at(0, (5, 0))
    whole, same_labels = replace(share, smallest_area=1).at(0, (5, 0))
    np.testing.assert_array_equal(labels, same_labels)
    assert all((part != image).any() for part, image in zip(pixels, whole, strict=True))
    np.testing.assert_array_equal(share.at(0, (5, 0))[0], pixels)
