"""Near duplicates are found by their dHash, and stay together when images are split."""

from __future__ import annotations

import io

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from models.arrays import Pixels
from training.data.near_duplicates import dhash, group_near_duplicates
from training.sampling import assign_folds


def scene(seed: int) -> Image.Image:
    """Draw broad patches of light and shade, as in photographs."""
    patches = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), np.uint8)
    return Image.fromarray(patches).resize((320, 240), Image.Resampling.BICUBIC)


def recompressed(image: Image.Image) -> Pixels:
    file = io.BytesIO()
    ImageEnhance.Brightness(image.resize((150, 110))).enhance(0.8).save(file, "JPEG", quality=30)
    return np.array(Image.open(file))


def test_recompressed_image_is_recognized_and_another_image_is_not() -> None:
    scenes = [scene(seed) for seed in range(20)]
    hashes = [dhash(np.array(image)) for image in scenes]
    again = [dhash(recompressed(image)) for image in scenes]
    numbers = group_near_duplicates([*hashes, *again])
    assert numbers[:20].tolist() == numbers[20:].tolist()
    assert len(set(numbers.tolist())) == 20
    assert dhash(np.array(ImageOps.mirror(scenes[0]))) != hashes[0], "mirrored images are not recognized"


def test_near_duplicates_of_near_duplicates_share_a_group() -> None:
    chain = [0, 0b111111, 0b111111_111111, 1 << 63 | 0b111111_111111]
    far = [(1 << 64) - 1, 0x5555_5555_5555_5555]
    numbers = group_near_duplicates([*chain, *far, 0])
    assert len(set(numbers[[0, 1, 2, 3, 6]].tolist())) == 1
    assert len(set(numbers.tolist())) == 3


members = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), min_size=1, max_size=60)


@given(members, st.integers(2, 6), st.integers(0, 5))
def test_groups_stay_whole_and_every_class_is_spread(images: list[tuple[int, int]], folds: int, seed: int) -> None:
    labels, grouped = np.array(sorted(images)).T
    fold_of = assign_folds(labels, grouped, folds, np.random.default_rng(seed))
    assert set(fold_of.tolist()) <= set(range(folds))
    for group in np.unique(grouped):
        assert len(set(fold_of[grouped == group].tolist())) == 1
    _, first = np.unique(grouped, return_index=True)
    for label in np.unique(labels[first]):
        folds_used = fold_of[first[labels[first] == label]]
        assert set(folds_used.tolist()) == set(range(min(folds, len(folds_used))))


def test_single_images_are_spread_evenly() -> None:
    labels = np.repeat([0, 1], [53, 50])
    fold_of = assign_folds(labels, np.arange(103), 5, np.random.default_rng(0))
    assert sorted(np.bincount(fold_of[labels == 0]).tolist()) == [10, 10, 11, 11, 11]
    assert np.bincount(fold_of[labels == 1]).tolist() == [10] * 5
