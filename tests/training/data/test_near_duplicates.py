"""Near duplicates are found by their dHash, and stay together when images are split."""

from __future__ import annotations

import io
import itertools
import tracemalloc
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from models.arrays import Pixels
from training.data import near_duplicates
from training.data.near_duplicates import dhash, group_images, group_near_duplicates, thumbnail
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


def test_images_of_equal_hashes_that_show_something_else_are_not_alike() -> None:
    """Rows of one colour each have no steps to the side, so dHash cannot tell such images apart."""
    random = np.random.default_rng(1)
    striped = [np.repeat(random.integers(0, 256, (16, 1, 3), np.uint8), 16, axis=1) for _ in range(10)]
    assert {dhash(pixels) for pixels in striped} == {0}
    assert len(set(group_images([thumbnail(pixels) for pixels in striped]).tolist())) == 10
    darker = [(pixels * 0.9).astype(np.uint8) for pixels in striped]
    numbers = group_images([thumbnail(pixels) for pixels in [*striped, *darker]])
    assert numbers[:10].tolist() == numbers[10:].tolist()


def test_plain_images_are_alike() -> None:
    plain = [np.full((30, 30, 3), level, np.uint8) for level in (5, 90)]
    assert len(set(group_images([thumbnail(pixels) for pixels in plain]).tolist())) == 1


def with_bits(bits: Iterable[int], scale: int = 1) -> Pixels:
    """Draw an image whose dHash has these bits: from left to right, row by row, the first one is the highest."""
    levels = np.full((8, 9), 100, np.uint8)
    for bit in bits:
        row, column = divmod(bit, 8)
        levels[row, column + 1 :] += 9
    return np.repeat(np.repeat(np.repeat(levels, scale, 0), scale, 1)[..., None], 3, axis=2)


@pytest.mark.parametrize("scale", [1, 7])
def test_hash_has_a_bit_for_each_pixel_darker_than_its_right_neighbour(scale: int) -> None:
    for bits in ((), (0,), (7,), (8,), (63,), (0, 1, 2, 9, 40)):
        assert dhash(with_bits(bits, scale)) == sum(1 << (63 - bit) for bit in bits)
    assert dhash(255 - with_bits((5,), scale)) == 0, "brighter than its right neighbour"


SPREAD = (0, 9, 18, 27, 36, 45, 54, 63)


@pytest.mark.parametrize("count", range(9))
def test_images_are_near_duplicates_up_to_six_different_bits(count: int) -> None:
    images = [with_bits((3, 60)), with_bits({3, 60} ^ set(SPREAD[:count]), scale=5)]
    first, second = group_near_duplicates([dhash(image) for image in images])
    assert (first == second) == (count <= 6)


@given(st.lists(st.integers(0, 2**64 - 1), max_size=12), st.data())
def test_groups_are_those_of_comparing_every_pair(distinct: list[int], data: st.DataObject) -> None:
    """Union of every pair within six bits, where some hashes are others with up to eight bits changed."""
    hashes = list(distinct)
    for _ in range(data.draw(st.integers(0, 12)) if hashes else 0):
        flips = data.draw(st.sets(st.integers(0, 63), min_size=5, max_size=8))
        hashes.append(data.draw(st.sampled_from(hashes)) ^ sum(1 << bit for bit in flips))
    groups = [{index} for index in range(len(hashes))]
    for first, second in itertools.combinations(range(len(hashes)), 2):
        if (hashes[first] ^ hashes[second]).bit_count() <= 6 and groups[first] is not groups[second]:
            groups[first] |= groups[second]
            for member in groups[first]:
                groups[member] = groups[first]
    numbers = group_near_duplicates(hashes).tolist()
    assert len(numbers) == len(hashes)
    for first, second in itertools.combinations(range(len(hashes)), 2):
        assert (numbers[first] == numbers[second]) == (second in groups[first])


def test_near_duplicates_are_found_among_thousands_of_images() -> None:
    """Hashes are compared in blocks; each image has a near duplicate in another block."""
    images = [int(value) for value in np.random.default_rng(0).integers(0, 2**63, 1500)]
    again = [value ^ 0b10101 << 59 for value in images]
    numbers = group_near_duplicates([*images, *again])
    assert numbers[:1500].tolist() == numbers[1500:].tolist()
    assert len(set(numbers.tolist())) == 1500


def test_thousands_of_images_with_one_hash_need_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """All pairs of them are 200 MB, as for scans on a plain background."""
    monkeypatch.setattr(near_duplicates, "_MAX_COMPARED", 1 << 16)
    patterns = np.random.default_rng(0).integers(0, 256, (2, 8, 9, 3), np.uint8)
    shown = np.arange(5000) % 2
    tracemalloc.start()
    numbers = group_near_duplicates([0] * 5000, list(patterns[shown]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40_000_000
    assert len(set(numbers.tolist())) == 2
    assert all(len(set(numbers[shown == pattern].tolist())) == 1 for pattern in (0, 1))


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
