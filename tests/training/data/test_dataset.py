"""Labelled images on disk: their labels, their digest, the held-out share, archives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.paths import ROOT
from training.data import dataset as datasets
from training.data.archives import unpack
from training.data.dataset import Dataset, Split
from training.errors import DatasetError
from training.recipes.schema import Data

TRAIN_ONLY = Data(path="pets", test="")


def write(root: Path, *files: str) -> Path:
    """Files whose content is their path; no image is looked into here."""
    for name in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return root


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    return write(
        tmp_path / "pets", "train/dog/a", "train/dog/deep/b", "train/cat/c", "train/cat/d", "train/cat/e", "test/cat/f"
    )


def load(root: Path, **data: object) -> Dataset:
    return datasets.load(Data.model_validate({"path": "pets", **data}), root)


def split_of(counts: Sequence[int]) -> Split:
    labels = np.repeat(np.arange(len(counts)), counts)
    return Split(tuple(Path(f"{i:05}") for i in range(len(labels))), labels, ("",) * len(labels))


def test_classes_are_sorted_folders_and_images_are_sorted_paths(pets: Path) -> None:
    data = load(pets)
    assert data.ids == data.names == ("cat", "dog")
    names = [str(Path(*path.parts).relative_to(pets)) for path in data.train.paths]
    assert names == ["train/cat/c", "train/cat/d", "train/cat/e", "train/dog/a", "train/dog/deep/b"]
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1]
    assert data.test is not None
    assert data.test.labels.tolist() == [0], "a test set may lack classes"


def test_the_order_of_classes_can_be_given(pets: Path) -> None:
    data = datasets.load(Data(path="pets"), pets, ids=("dog", "cat"))
    assert data.ids == ("dog", "cat")
    assert [path.parts[-2] for path in data.train.take(np.array([0, 4])).paths] == ["dog", "cat"]
    with pytest.raises(DatasetError, match=r"missing cow; not expected dog"):
        datasets.load(Data(path="pets"), pets, ids=("cow", "cat"))


def test_hidden_files_and_folders_do_not_count(pets: Path) -> None:
    before = load(pets).train.paths
    write(
        pets,
        "train/.DS_Store/x",
        "train/cat/.hidden",
        "train/cat/.thumbnails/x",
        "train/__MACOSX/x",
        "train/dog/deep/.x",
        "train/stray",
    )
    (pets / "train/empty").mkdir()
    assert load(pets).train.paths == before


def test_the_digest_is_of_content_and_label_and_of_nothing_else(pets: Path) -> None:
    digest = load(pets).digest
    (pets / "train/cat/c").rename(pets / "train/cat/zzz")
    write(pets, "classes.tsv")
    assert load(pets).digest == digest, "files renamed and reordered"
    (pets / "test/cat/f").rename(pets / "train/cat/f")
    write(pets, "test/dog/g")
    moved = load(pets).digest
    assert moved != digest, "from one split to another"
    (pets / "train/cat/f").rename(pets / "train/dog/f")
    assert load(pets).digest != moved, "from one class to another"


def test_one_changed_byte_changes_the_digest(pets: Path) -> None:
    digest = load(pets).digest
    (pets / "train/cat/c").write_text("train/cat/C")
    assert load(pets).digest != digest


def test_names_come_from_the_recipe_then_from_the_table_then_from_the_folder(pets: Path) -> None:
    write(pets, "train/n03/x", "train/n04/x")
    (pets / "classes.tsv").write_text("n03\ttabby, tabby cat\n\nn04\tbeaver\nunused\tx\ncat\ncat2\t\n", "utf-8")
    assert load(pets, names={"n04": "castor"}).names == ("cat", "dog", "tabby", "castor")


def test_two_classes_of_one_name_are_refused(pets: Path) -> None:
    with pytest.raises(DatasetError, match=r"Two classes are named 'dog'; tell them apart in the recipe's data.names"):
        load(pets, names={"cat": "dog"})


def test_a_test_set_may_lack_classes_but_not_have_others(pets: Path) -> None:
    write(pets, "test/cow/x", "test/emu/x")
    with pytest.raises(DatasetError, match=r"pets/test has classes without training images: cow, emu\.$"):
        load(pets)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["test/cat/x"], r"no folder .*train\. A dataset has one folder for each split"),
        (["train/cat.png", "test/cat/x"], r"train holds no folders of images"),
        (["train/cat/x"], r"no folder .*test\."),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, files: list[str], expected: str) -> None:
    with pytest.raises(DatasetError, match=expected):
        load(write(tmp_path / "pets", *files))


def test_no_dataset_at_all_is_answered_with_the_ways_on(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no dataset at .*nosuch. Say where it lies with --data"):
        load(tmp_path / "nosuch")
    with pytest.raises(DatasetError, match=r"no dataset at .*data/nosuch"):
        datasets.load(Data(path="nosuch"))


@given(st.lists(st.integers(1, 300), min_size=1, max_size=12))
@settings(deadline=None)
def test_the_held_out_share_is_fixed_stratified_and_apart_from_what_is_fitted(counts: list[int]) -> None:
    images = split_of(counts)
    held, fitted = datasets.holdout(images), datasets.fitting(images)
    assert np.array_equal(held, datasets.holdout(images))
    assert sorted([*held, *fitted]) == list(range(len(images)))
    for label, count in enumerate(counts):
        of_class = int((images.labels[held] == label).sum())
        assert of_class == (min(max(1, round(count * 0.05)), count - 1))
        assert (images.labels[fitted] == label).any()


def test_the_held_out_images_never_change() -> None:
    assert datasets.holdout(split_of([40, 30, 1])).tolist() == [13, 20, 46, 54]


def test_the_held_out_images_are_the_same_in_any_order_of_the_classes() -> None:
    paths = [Path("train") / name / f"{i:02}" for name in ("ant", "bee", "cat") for i in range(40)]
    held = {}
    for order in (["ant", "bee", "cat"], ["cat", "ant", "bee"]):
        arranged = sorted(paths, key=lambda path: (order.index(path.parent.name), path))
        labels = np.array([order.index(path.parent.name) for path in arranged], dtype=np.int64)
        images = Split(tuple(arranged), labels, ("",) * len(arranged))
        held[order[0]] = {arranged[i] for i in datasets.holdout(images)}
    assert held["ant"] == held["cat"], "one recipe would fit on what another holds out"


def test_a_class_of_one_image_is_fitted_on() -> None:
    images = split_of([1, 1])
    assert datasets.holdout(images).tolist() == []
    assert datasets.holdout(images).dtype == np.int64
    assert datasets.fitting(images).tolist() == [0, 1]


@pytest.mark.parametrize("within", ["", "pets", "a/b"])
def test_folders_around_the_dataset_are_passed_through(tmp_path: Path, within: str) -> None:
    root = write(tmp_path / "around" / within, "train/cat/x", "train/dog/x", "test/cat/y")
    write(tmp_path / "around", ".DS_Store", "__MACOSX/pets/._x")
    assert load(tmp_path / "around").root == root


def test_a_split_that_stands_alone_is_not_passed_through(tmp_path: Path) -> None:
    root = write(tmp_path / "pets", "train/cat/x", "train/cat/y")
    data = datasets.load(TRAIN_ONLY, tmp_path)
    assert (data.root, data.ids, data.test) == (root, ("cat",), None)


def tar(folder: Path, to: Path) -> Path:
    with tarfile.open(to, "w:gz" if to.suffix == ".gz" else "w") as archive:
        archive.add(folder, folder.name)
    return to


def zipped(folder: Path, to: Path) -> Path:
    with zipfile.ZipFile(to, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder.parent))
        archive.writestr("__MACOSX/._pets", "macOS puts such things into archives")
    return to


@pytest.mark.parametrize(("pack", "name"), [(tar, "pets.tar"), (tar, "pets.tar.gz"), (zipped, "pets.zip")])
def test_an_archive_is_unpacked_once(pets: Path, tmp_path: Path, pack: Callable[[Path, Path], Path], name: str) -> None:
    archive, cache = pack(pets, tmp_path / name), tmp_path / "cache"
    first = datasets.load(Data(path="pets"), archive, cache=cache)
    assert first.digest == load(pets).digest
    Path(*first.train.paths[0].parts).write_text("changed in the cache")
    again = datasets.load(Data(path="pets"), archive, cache=cache)
    assert again.train.paths == first.train.paths
    assert again.digest != first.digest, "it was read from where it had been unpacked"
    os.utime(archive, (1, 1))
    assert datasets.load(Data(path="pets"), archive, cache=cache).root != first.root, "another archive of that name"


KILLED_WHILE_UNPACKING = """
import sys
from pathlib import Path
from tests.training.killed import kill_at
from training import datasets
kill_at("open", "/.unpacking-", 3)
datasets.unpacked(Path(sys.argv[1]), "train", Path(sys.argv[2]))
"""


def test_what_a_killed_unpacking_left_is_not_taken_for_whole(pets: Path, tmp_path: Path) -> None:
    archive, cache = tar(pets, tmp_path / "pets.tar"), tmp_path / "cache"
    killed = subprocess.run([sys.executable, "-c", KILLED_WHILE_UNPACKING, archive, cache], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert list(cache.rglob("*")), "it had begun"
    assert datasets.load(Data(path="pets"), archive, cache=cache).digest == load(pets).digest
    assert not list(cache.glob("archives/.*"))


def test_a_damaged_archive_leaves_nothing_that_is_taken_for_whole(pets: Path, tmp_path: Path) -> None:
    archive = tar(pets, tmp_path / "pets.tar.gz")
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    for _ in range(2):
        with pytest.raises(DatasetError, match="cannot be unpacked"):
            datasets.unpacked(archive, "train", tmp_path / "cache")


def test_an_archive_of_nothing_is_no_dataset(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"no folder .*train"):
        datasets.load(TRAIN_ONLY, tar(tmp_path / "empty", tmp_path / "empty.tar"), cache=tmp_path / "cache")


def test_archives_are_unpacked_whole(pets: Path, tmp_path: Path) -> None:
    unpack(tar(pets, tmp_path / "pets.tar"), tmp_path / "out")
    assert load(tmp_path / "out").digest == load(pets).digest
