"""Seeded samples: their sizes, and folds that keep groups whole."""

from __future__ import annotations

import numpy as np
import pytest

from training.sampling import assign_folds, sample_per_class, sample_per_group


@pytest.mark.parametrize(
    ("images", "share", "expected"),
    [(1, 0.5, 0), (2, 0.05, 1), (2, 0.9, 1), (10, 0.2, 2), (30, 0.05, 2), (31, 0.05, 2), (50, 0.05, 2), (51, 0.05, 3)],
)
def test_sample_is_the_rounded_share_but_neither_nothing_nor_everything(
    images: int, share: float, expected: int
) -> None:
    sample = sample_per_class(np.zeros(images, np.int64), share, np.random.default_rng(0))
    assert len(sample) == len(set(sample.tolist())) == expected


def test_sample_is_drawn_from_each_group_at_random_and_sorted() -> None:
    groups = [np.arange(0, 100, 2), np.arange(1, 100, 2)]
    samples = [sample_per_group(groups, 0.2, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    for sample in samples:
        assert sample.dtype == np.int64
        assert sorted(sample.tolist()) == sample.tolist()
        assert [int((sample % 2 == parity).sum()) for parity in (0, 1)] == [10, 10]
    assert samples[0].tolist() == samples[1].tolist() != samples[2].tolist()


def test_largest_groups_are_assigned_first_to_the_smallest_fold() -> None:
    """One group of 6 images, one of 3 and five single ones, in 2 folds: 6 + 1 and 3 + 4 images."""
    groups = np.repeat(np.arange(7), [1, 3, 1, 1, 6, 1, 1])
    folds = [assign_folds(np.zeros(14, np.int64), groups, 2, np.random.default_rng(seed)) for seed in range(5)]
    for fold_of in folds:
        assert np.bincount(fold_of).tolist() == [7, 7]
        assert fold_of[groups == 4].tolist() == [1] * 6, "the first goes to the last fold"
        assert set(fold_of[groups == 1].tolist()) == {0}


def test_every_class_is_in_fold_0_and_classes_of_few_groups_use_the_first_folds() -> None:
    labels = np.repeat([0, 1, 2], [1, 2, 9])
    fold_of = assign_folds(labels, np.arange(12), 5, np.random.default_rng(0))
    assert fold_of[labels == 0].tolist() == [0]
    assert sorted(fold_of[labels == 1].tolist()) == [0, 1]
    assert sorted(np.bincount(fold_of[labels == 2], minlength=5).tolist()) == [1, 2, 2, 2, 2]


def test_group_of_several_classes_counts_for_the_class_of_its_first_image() -> None:
    labels, groups = np.array([1, 0, 0, 1, 1]), np.array([7, 7, 3, 4, 5])
    fold_of = assign_folds(labels, groups, 3, np.random.default_rng(0))
    assert fold_of[0] == fold_of[1]
    assert sorted(fold_of[[0, 3, 4]].tolist()) == [0, 1, 2], "three groups of class 1"
    assert fold_of[2] == 0, "the only group of class 0"
