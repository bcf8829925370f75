from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from training.augment import augment, random_boxes

_IMAGES = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)


def test_flips_about_half_of_the_images_from_left_to_right() -> None:
    varied = augment(_IMAGES, np.random.default_rng(1), crop_border=0, flip=True)
    as_they_were = (varied == _IMAGES).all(axis=(1, 2, 3))
    mirrored = (varied == _IMAGES[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (as_they_were ^ mirrored).all()
    assert 10 <= mirrored.sum() <= 30


def test_crops_a_square_out_of_the_image_and_its_reflected_border() -> None:
    varied = augment(_IMAGES, np.random.default_rng(1), crop_border=2, flip=False)
    assert varied.shape == _IMAGES.shape
    assert varied.dtype == np.uint8
    bordered = np.pad(_IMAGES, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")
    corners = set()
    for image, wide in zip(varied, bordered, strict=True):
        found = [
            (top, left)
            for top in range(5)
            for left in range(5)
            if (wide[top : top + 8, left : left + 8] == image).all()
        ]
        assert len(found) == 1
        corners |= set(found)
    assert {0, 4} <= {top for top, _ in corners} & {left for _, left in corners}


def test_the_same_generator_makes_the_same_variants() -> None:
    first, second = (augment(_IMAGES, np.random.default_rng(3), crop_border=2, flip=True) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_leaves_images_as_they_are_where_nothing_is_asked_for() -> None:
    np.testing.assert_array_equal(
        augment(_IMAGES, np.random.default_rng(3), crop_border=0, flip=False), _IMAGES, strict=True
    )


@given(st.integers(0, 2**32), st.sampled_from([0.1, 0.35, 0.9]), st.sampled_from([8, 64]))
def test_a_random_box_lies_in_the_image_and_keeps_enough_of_it(seed: int, smallest_area: float, side: int) -> None:
    for box in random_boxes(20, side, np.random.default_rng(seed), smallest_area):
        assert box is not None
        left, top, right, bottom = box
        assert 0 <= left < right <= side
        assert 0 <= top < bottom <= side
        width, height = right - left, bottom - top
        assert 0.74 < width / height < 1.34
        # where one edge would be longer than the image it is cut off, so the area is then smaller than was drawn
        assert width * height >= smallest_area * side * side * 0.999 or side in (round(width), round(height))


def test_random_boxes_reach_every_edge_and_vary_in_size() -> None:
    boxes = np.array(random_boxes(2000, 64, np.random.default_rng(1), 0.25))
    assert boxes[:, :2].min() < 1
    assert boxes[:, 2:].max() > 63
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) / 64**2
    assert areas.min() < 0.3
    assert areas.max() > 0.9
    assert 0.55 < areas.mean() < 0.67


def test_boxes_of_the_whole_area_are_no_boxes() -> None:
    assert random_boxes(3, 64, np.random.default_rng(1), 1) == [None] * 3
