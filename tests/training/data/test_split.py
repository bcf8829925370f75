"""The held-out share of a training split is fixed, stratified and separate from the images to fit on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data.split import Split, holdout_indices


def split_of(counts: Sequence[int]) -> Split:
    labels = np.repeat(np.arange(len(counts)), counts)
    return Split(tuple(Path(f"{i:05}") for i in range(len(labels))), labels, ("",) * len(labels))


@given(st.lists(st.integers(1, 300), min_size=1, max_size=12))
@settings(deadline=None)
def test_held_out_share_is_fixed_stratified_and_not_fitted_on(counts: list[int]) -> None:
    images = split_of(counts)
    held = holdout_indices(images)
    fitted = np.setdiff1d(np.arange(len(images)), held)
    assert np.array_equal(held, holdout_indices(images))
    assert len(fitted) == len(images) - len(held)
    for label, count in enumerate(counts):
        of_class = int((images.labels[held] == label).sum())
        assert of_class == (min(max(1, round(count * 0.05)), count - 1))
        assert (images.labels[fitted] == label).any()


def test_held_out_images_never_change() -> None:
    assert holdout_indices(split_of([40, 30, 1])).tolist() == [13, 20, 46, 54]


def test_held_out_images_do_not_depend_on_the_order_of_the_classes() -> None:
    paths = [Path("train") / name / f"{i:02}" for name in ("ant", "bee", "cat") for i in range(40)]
    held = {}
    for order in (["ant", "bee", "cat"], ["cat", "ant", "bee"]):
        arranged = sorted(paths, key=lambda path: (order.index(path.parent.name), path))
        labels = np.array([order.index(path.parent.name) for path in arranged], dtype=np.int64)
        images = Split(tuple(arranged), labels, ("",) * len(arranged))
        held[order[0]] = {arranged[i] for i in holdout_indices(images)}
    assert held["ant"] == held["cat"], "one recipe would fit on images that another holds out"


def test_class_with_one_image_is_fitted_on() -> None:
    images = split_of([1, 1])
    assert holdout_indices(images).tolist() == []
    assert holdout_indices(images).dtype == np.int64


def test_digest_of_a_set_depends_on_its_images_and_their_classes_alone() -> None:
    digests = tuple(f"{number:064x}" for number in range(6))
    images = Split(tuple(map(Path, "abcdef")), np.array([0, 0, 1, 1, 2, 2]), digests)
    order = np.array([5, 2, 0, 4, 1, 3])
    assert images.take(order).digest == images.digest, "in another order"
    assert replace(images, labels=np.array([2, 2, 0, 0, 1, 1])).digest == images.digest, "classes of other names"
    assert replace(images, labels=np.array([0, 1, 0, 1, 2, 2])).digest != images.digest, "images of other classes"
    assert images.take(np.arange(5)).digest != images.digest
    assert replace(images, digests=(*digests[:5], "f" * 64)).digest != images.digest
