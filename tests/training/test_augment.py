from __future__ import annotations

import numpy as np

from training.augment import augment

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
