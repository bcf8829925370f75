"""Near duplicates are found by their dHash, and keep together wherever images are parted."""

from __future__ import annotations

import io

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from models.arrays import Pixels
from training.data.near_duplicates import dhash, groups
from training.sampling import spread


def scene(seed: int) -> Image.Image:
    """Broad patches of light and shade, as photographs have them."""
    patches = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), np.uint8)
    return Image.fromarray(patches).resize((320, 240), Image.Resampling.BICUBIC)


def stored_again(picture: Image.Image) -> Pixels:
    file = io.BytesIO()
    ImageEnhance.Brightness(picture.resize((150, 110))).enhance(0.8).save(file, "JPEG", quality=30)
    return np.array(Image.open(file))


def test_a_picture_that_is_stored_again_is_recognised_and_another_is_not() -> None:
    scenes = [scene(seed) for seed in range(20)]
    hashes = [dhash(np.array(picture)) for picture in scenes]
    again = [dhash(stored_again(picture)) for picture in scenes]
    found = groups([*hashes, *again])
    assert found[:20].tolist() == found[20:].tolist()
    assert len(set(found.tolist())) == 20
    assert dhash(np.array(ImageOps.mirror(scenes[0]))) != hashes[0], "what is mirrored is not recognised"


def test_near_duplicates_of_near_duplicates_are_in_one_group() -> None:
    chain = [0, 0b111111, 0b111111_111111, 1 << 63 | 0b111111_111111]
    far = [(1 << 64) - 1, 0x5555_5555_5555_5555]
    found = groups([*chain, *far, 0])
    assert len(set(found[[0, 1, 2, 3, 6]].tolist())) == 1
    assert len(set(found.tolist())) == 3


members = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), min_size=1, max_size=60)


@given(members, st.integers(2, 6), st.integers(0, 5))
def test_groups_stay_whole_and_every_class_is_spread(images: list[tuple[int, int]], parts: int, seed: int) -> None:
    labels, grouped = np.array(sorted(images)).T
    part_of = spread(labels, grouped, parts, np.random.default_rng(seed))
    assert set(part_of.tolist()) <= set(range(parts))
    for group in np.unique(grouped):
        assert len(set(part_of[grouped == group].tolist())) == 1
    _, first = np.unique(grouped, return_index=True)
    for label in np.unique(labels[first]):
        led = part_of[first[labels[first] == label]]
        assert set(led.tolist()) == set(range(min(parts, len(led))))


def test_single_images_are_spread_evenly() -> None:
    labels = np.repeat([0, 1], [53, 50])
    part_of = spread(labels, np.arange(103), 5, np.random.default_rng(0))
    assert sorted(np.bincount(part_of[labels == 0]).tolist()) == [10, 10, 11, 11, 11]
    assert np.bincount(part_of[labels == 1]).tolist() == [10] * 5
