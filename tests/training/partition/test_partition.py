"""One object decides which images a stage may use, keeps near duplicates on one side, and records every hand-out."""

from __future__ import annotations

import ast
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.paths import ROOT
from training.data.dataset import Dataset
from training.data.split import Split, holdout_indices
from training.errors import ForbiddenUse
from training.partition.partition import ALL, FIT, HOLDOUT, TEST, TRAIN, VALID, Claims, Partition
from training.partition.record import Stage, Use

CLASSES = ("cat", "dog")


def digest(number: int) -> str:
    return f"{number:064x}"


def split_of(first: int, count: int) -> Split:
    """Return images of two classes whose digests are numbers from `first` on."""
    numbers = range(first, first + count)
    labels = np.sort(np.arange(count, dtype=np.int64) % 2)
    return Split(tuple(Path(f"{number:05}") for number in numbers), labels, tuple(map(digest, numbers)))


def dataset(train: int = 100, valid: int = 20, test: int = 30, *, has_holdout: bool = True) -> Dataset:
    parts = (split_of(0, train), split_of(2000, test), split_of(1000, valid))
    return Dataset(Path("pets"), CLASSES, CLASSES, *parts, has_holdout=has_holdout)


def held_out(data: Dataset) -> list[str]:
    return [data.train.digests[index] for index in holdout_indices(data.train)]


ALL_SETS = (FIT, HOLDOUT, VALID, TEST, "photos")


@given(st.lists(st.tuples(st.integers(0, 159), st.integers(0, 25)), max_size=120), st.integers(20, 100))
@settings(deadline=None)
def test_no_group_of_near_duplicates_is_in_two_sets(grouped: list[tuple[int, int]], train: int) -> None:
    """Images of each set are numbered from 0, 1000, 2000 and 3000 on; some of them share groups."""
    data, probe = dataset(train), split_of(3000, 10)
    everything = [*data.train.digests, *split_of(1000, 20).digests, *split_of(2000, 30).digests, *probe.digests]
    groups = {everything[index % len(everything)]: group for index, group in grouped}
    partition = Partition(data, groups, {"photos": probe})
    sets = {name: partition._sets[name] for name in (*ALL_SETS, TRAIN, ALL)}
    groups_of = {name: {groups.get(each, each) for each in split.digests} for name, split in sets.items()}
    for one, other in combinations(ALL_SETS, 2):
        if {one, other} != {TEST, "photos"}:
            assert not groups_of[one] & groups_of[other], f"{one} and {other} share a group"
    for name in (VALID, TEST, "photos"):
        assert not groups_of[TRAIN] & groups_of[name]
    for name in (TEST, "photos"):
        assert not groups_of[ALL] & groups_of[name]
    assert sets[TEST].digests == split_of(2000, 30).digests, "the test set is never changed"
    assert set(sets[HOLDOUT].digests) <= set(held_out(data)), "no other image than the fixed 5 % is held out"
    assert set(sets[FIT].digests) | set(sets[HOLDOUT].digests) <= set(data.train.digests)
    assert partition.holdout_indices.tolist() == holdout_indices(data.train).tolist()


def test_without_near_duplicates_every_image_is_in_one_set() -> None:
    partition = Partition(dataset())
    assert [partition.count(name) for name in (FIT, HOLDOUT, VALID, TEST, TRAIN, ALL)] == [96, 4, 20, 30, 100, 120]
    assert [partition.excluded(name) for name in (FIT, HOLDOUT, VALID, TEST, TRAIN, ALL)] == [0] * 6


def test_images_like_a_measured_one_are_counted_and_return_for_the_last_fit() -> None:
    data = dataset()
    held = held_out(data)[0]
    fitted = [each for each in data.train.digests if each not in held_out(data)]
    like_holdout, like_valid, like_test = fitted[:3]
    groups = {held: 0, like_holdout: 0, digest(1000): 1, like_valid: 1, digest(2000): 2, like_test: 2}
    partition = Partition(data, groups)
    assert (partition.count(FIT), partition.excluded(FIT)) == (93, 3)
    assert (partition.count(TRAIN), partition.excluded(TRAIN)) == (98, 2)
    assert (partition.count(ALL), partition.excluded(ALL)) == (119, 1)


def test_images_that_look_like_those_of_another_dataset_of_the_run_are_left_out() -> None:
    data = dataset()
    fitted = next(each for each in data.train.digests if each not in held_out(data))
    groups = {fitted: 7, digest(5000): 7}
    assert Partition(data, groups, others=Claims(tests=frozenset({7}))).excluded(FIT) == 1
    assert Partition(data, groups, others=Claims(holdouts=frozenset({7}))).excluded(FIT) == 1


@pytest.mark.parametrize(
    ("stage", "name", "use"),
    [
        *[(stage, TEST, use) for stage in Stage for use in (Use.FIT, Use.CHOOSE, Use.CALIBRATE)],
        *[(stage, name, Use.FIT) for stage in Stage for name in (HOLDOUT, VALID, "photos")],
        *[(stage, name, use) for stage in Stage for name in (FIT, TRAIN, ALL) for use in Use if use != Use.FIT],
        *[(stage, "photos", use) for stage in Stage for use in (Use.CHOOSE, Use.CALIBRATE)],
        *[(stage, ALL, Use.FIT) for stage in (Stage.HEAD, Stage.TUNING, Stage.SELECTION, Stage.COMPARISON)],
        (Stage.REPORT, "nosuch", Use.MEASURE),
    ],
)
def test_stage_that_asks_for_images_it_may_not_see_is_a_bug(stage: Stage, name: str, use: Use) -> None:
    partition = Partition(dataset(), probes={"photos": split_of(3000, 10)})
    with pytest.raises(ForbiddenUse, match=f"{stage} may not {use} with '{name}'"):
        partition.hand_out(stage, name, use)
    assert list(partition.record) == []


@pytest.mark.parametrize("name", [HOLDOUT, VALID, TEST, ALL])
def test_only_training_images_are_cross_validated(name: str) -> None:
    with pytest.raises(ForbiddenUse, match="may not cross-validate on"):
        Partition(dataset()).folds(Stage.TUNING, name, Use.FIT)


def test_test_set_that_is_measured_once_is_for_the_report_alone() -> None:
    partition = Partition(dataset(), test_once=True)
    for stage in set(Stage) - {Stage.REPORT}:
        assert TEST not in partition.measured(stage)
        with pytest.raises(ForbiddenUse):
            partition.hand_out(stage, TEST, Use.MEASURE)
    assert partition.measured(Stage.REPORT) == [VALID, TEST]
    assert len(partition.hand_out(Stage.REPORT, TEST, Use.MEASURE)) == 30


def test_images_that_a_model_was_fitted_on_cannot_measure_it_afterwards() -> None:
    partition = Partition(dataset())
    partition.hand_out(Stage.HEAD, HOLDOUT, Use.CALIBRATE, Use.MEASURE)
    partition.hand_out(Stage.HEAD, TRAIN, Use.FIT)
    for use in (Use.CHOOSE, Use.CALIBRATE, Use.MEASURE):
        with pytest.raises(ForbiddenUse, match="4 images were fitted on"):
            partition.hand_out(Stage.HEAD, HOLDOUT, use)
    partition.hand_out(Stage.REPORT, TEST, Use.MEASURE)


def test_every_hand_out_is_recorded_with_its_images() -> None:
    partition = Partition(dataset())
    partition.hand_out(Stage.HEAD, HOLDOUT, Use.CALIBRATE, Use.MEASURE)
    partition.folds(Stage.TUNING, FIT, Use.FIT, Use.CHOOSE)
    some = partition.hand_out(Stage.INT8, FIT, Use.FIT, chosen=np.array([3, 1]))
    recorded = [(each.stage, each.use, each.set, len(each.split), each.by_folds) for each in partition.record]
    assert recorded == [
        (Stage.HEAD, Use.CALIBRATE, HOLDOUT, 4, False),
        (Stage.HEAD, Use.MEASURE, HOLDOUT, 4, False),
        (Stage.TUNING, Use.FIT, FIT, 96, True),
        (Stage.TUNING, Use.CHOOSE, FIT, 96, True),
        (Stage.INT8, Use.FIT, FIT, 2, False),
    ]
    assert partition.record.images(Use.FIT) == set(some.digests)
    assert partition.record.images(Use.MEASURE) == set(held_out(dataset()))


def test_folds_have_the_groups_of_near_duplicates() -> None:
    data = dataset(has_holdout=False)
    groups = {each: index // 4 for index, each in enumerate(data.train.digests[:40])}
    folds = Partition(data, groups).folds(Stage.SELECTION, FIT, Use.FIT)
    assert len(folds.split) == len(folds.groups) == 100
    assert [len(set(folds.groups[i : i + 4].tolist())) for i in range(0, 40, 4)] == [1] * 10
    assert len(set(folds.groups.tolist())) == 10 + 60


def test_no_stage_reads_the_splits_of_a_dataset_past_its_partition() -> None:
    """Only the packages that load and divide datasets may, and the report on a folder of which all is measured."""
    owners = ("data", "partition", "ingest")
    names = {"train", "test", "valid", "merged_for_training", "fit_indices"}
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sorted((ROOT / "training").rglob("*.py"))
        if path.relative_to(ROOT / "training").parts[0] not in owners
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Attribute) and node.attr in names and "dataset" in ast.unparse(node.value))
        or (
            isinstance(node, ast.Name)
            and isinstance(node.ctx, ast.Load)
            and node.id in {"holdout_indices", "fit_indices"}
        )
    ]
    assert found == [], "these bypass training.partition"
