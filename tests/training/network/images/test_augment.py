"""Augmentation: flips, crops, random boxes and affine warps, compared with Keras."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.network.images.augment import affine, affine_map, augment, random_boxes
from training.recipes.network import Warp

_IMAGES = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)


def test_about_half_of_the_images_are_flipped_left_to_right() -> None:
    augmented = augment(_IMAGES, np.random.default_rng(1), crop_border=0, flip=True)
    unchanged = (augmented == _IMAGES).all(axis=(1, 2, 3))
    mirrored = (augmented == _IMAGES[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (unchanged ^ mirrored).all()
    assert 10 <= mirrored.sum() <= 30


def test_crop_is_a_square_of_the_image_with_reflected_border() -> None:
    augmented = augment(_IMAGES, np.random.default_rng(1), crop_border=2, flip=False)
    assert augmented.shape == _IMAGES.shape
    assert augmented.dtype == np.uint8
    bordered = np.pad(_IMAGES, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")
    corners = set()
    for image, wide in zip(augmented, bordered, strict=True):
        matches = [
            (top, left)
            for top in range(5)
            for left in range(5)
            if (wide[top : top + 8, left : left + 8] == image).all()
        ]
        assert len(matches) == 1
        corners |= set(matches)
    assert {0, 4} <= {top for top, _ in corners} & {left for _, left in corners}


def test_same_generator_gives_the_same_variants() -> None:
    first, second = (augment(_IMAGES, np.random.default_rng(3), crop_border=2, flip=True) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_no_augmentation_leaves_images_unchanged() -> None:
    np.testing.assert_array_equal(
        augment(_IMAGES, np.random.default_rng(3), crop_border=0, flip=False), _IMAGES, strict=True
    )


@given(st.integers(0, 2**32), st.sampled_from([0.1, 0.35, 0.9]), st.sampled_from([8, 64]))
def test_random_box_is_within_the_image_and_large_enough(seed: int, smallest_area: float, side: int) -> None:
    for box in random_boxes(20, side, np.random.default_rng(seed), smallest_area):
        assert box is not None
        left, top, right, bottom = box
        assert 0 <= left < right <= side
        assert 0 <= top < bottom <= side
        width, height = right - left, bottom - top
        assert 0.74 < width / height < 1.34
        # an edge longer than the image is cut, so the area may be smaller than the drawn one
        assert width * height >= smallest_area * side * side * 0.999 or side in (round(width), round(height))


def test_random_boxes_reach_every_edge_and_vary_in_size() -> None:
    boxes = np.array(random_boxes(2000, 64, np.random.default_rng(1), 0.25))
    assert boxes[:, :2].min() < 1
    assert boxes[:, 2:].max() > 63
    ratios = (boxes[:, 2] - boxes[:, 0]) / (boxes[:, 3] - boxes[:, 1])
    assert ratios.min() == pytest.approx(3 / 4, rel=0.01)
    assert ratios.max() == pytest.approx(4 / 3, rel=0.01)
    assert np.median(ratios) == pytest.approx(1, rel=0.05)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) / 64**2
    assert areas.min() < 0.3
    assert areas.max() > 0.9
    assert 0.55 < areas.mean() < 0.67


def test_whole_area_gives_no_boxes() -> None:
    assert random_boxes(3, 64, np.random.default_rng(1), 1) == [None] * 3


_SMOOTH = np.linspace(0, 250, 20 * 20 * 3).reshape(20, 20, 3).astype(np.uint8)
_DEGREES = st.floats(-60, 60)
_FACTOR = st.floats(0.8, 1.2)


@settings(deadline=None, max_examples=25)
@given(
    _DEGREES, st.floats(-4, 4), st.floats(-4, 4), _DEGREES, _FACTOR, _FACTOR, st.sampled_from(["nearest", "reflect"])
)
def test_affine_map_is_that_of_keras(
    rotation: float, right: float, down: float, shear: float, across: float, along: float, fill: str
) -> None:
    from keras.src.legacy.preprocessing.image import apply_affine_transform

    actual = affine(_SMOOTH, *affine_map(rotation, (right, down), shear, (across, along)), fill)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Keras uses a deprecated name of SciPy
        expected = apply_affine_transform(
            _SMOOTH.astype(np.float32), rotation, right, down, shear, across, along, 0, 1, 2, fill_mode=fill
        )
    assert actual.dtype == np.uint8
    assert np.abs(actual - expected).max() <= 0.51, "except for rounding"


def test_ranges_of_a_warp_are_those_of_keras(monkeypatch: pytest.MonkeyPatch) -> None:
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    options = ImageDataGenerator(
        rotation_range=40, width_shift_range=0.2, height_shift_range=0.2, shear_range=0.2, zoom_range=0.2
    )
    theirs = [options.get_random_transform((100, 100, 3), seed) for seed in range(500)]
    drawn: list[tuple[float, tuple[float, float], float, tuple[float, float]]] = []

    def record(rotation: float, shift: tuple[float, float], shear: float, zoom: tuple[float, float]) -> object:
        drawn.append((rotation, shift, shear, zoom))
        return affine_map(rotation, shift, shear, zoom)

    monkeypatch.setattr("training.network.images.augment.affine_map", record)
    augment(
        np.zeros((500, 4, 4, 3), np.uint8),
        np.random.default_rng(0),
        crop_border=0,
        flip=False,
        warp=Warp(rotation=40, shift=0.2, shear=0.2, zoom=0.2),
    )
    ours = {
        "theta": [rotation for rotation, *_ in drawn],
        "tx": [25 * right for _, (right, _), *_ in drawn],
        "ty": [25 * down for _, (_, down), *_ in drawn],
        "shear": [shear for *_, shear, _ in drawn],
        "zx": [across for *_, (across, _) in drawn],
        "zy": [along for *_, (_, along) in drawn],
    }
    for name, values in ours.items():
        same = [transform[name] for transform in theirs]
        spread = max(same) - min(same)
        assert min(values) == pytest.approx(min(same), abs=0.03 * spread), name
        assert max(values) == pytest.approx(max(same), abs=0.03 * spread), name
        assert np.std(values) == pytest.approx(np.std(same), rel=0.1), name


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32), st.integers(0, 255), st.sampled_from(["nearest", "reflect"]))
def test_warp_of_a_single_colour_keeps_that_colour(seed: int, value: int, fill: str) -> None:
    images = np.full((2, 16, 16, 3), value, np.uint8)
    warp = Warp.model_validate({"rotation": 180, "shift": 0.9, "shear": 40, "zoom": 0.9, "fill": fill})
    augmented = augment(images, np.random.default_rng(seed), crop_border=0, flip=True, warp=warp)
    np.testing.assert_array_equal(augmented, images, strict=True)


def test_warp_with_zero_ranges_changes_nothing() -> None:
    augmented = augment(_IMAGES, np.random.default_rng(3), crop_border=0, flip=False, warp=Warp())
    np.testing.assert_array_equal(augmented, _IMAGES, strict=True)


def test_each_image_is_warped_differently_and_reproducibly() -> None:
    images = np.stack([_SMOOTH] * 4)
    first, second = (
        augment(images, np.random.default_rng(3), crop_border=0, flip=False, warp=Warp(rotation=40)) for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)
    assert len({image.tobytes() for image in first}) == 4
