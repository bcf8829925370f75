"""Labelled images on disk: their classes, labels, names and digest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training.data.dataset import Dataset, load_dataset
from training.errors import DatasetError
from training.recipes.data import DatasetSpec

TRAIN_ONLY = DatasetSpec(path="pets", test="")


def write(root: Path, *files: str) -> Path:
    """Write files whose content is their path; these tests decode no image."""
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
    return load_dataset(DatasetSpec.model_validate({"path": "pets", **data}), root)


def test_classes_and_images_are_sorted_by_path(pets: Path) -> None:
    data = load(pets)
    assert data.class_ids == data.class_names == ("cat", "dog")
    names = [str(Path(*path.parts).relative_to(pets)) for path in data.train.images]
    assert names == ["train/cat/c", "train/cat/d", "train/cat/e", "train/dog/a", "train/dog/deep/b"]
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1]
    assert data.test is not None
    assert data.test.labels.tolist() == [0], "a test set may lack classes"


def test_order_of_classes_can_be_set(pets: Path) -> None:
    data = load_dataset(DatasetSpec(path="pets"), pets, class_ids=("dog", "cat"))
    assert data.class_ids == ("dog", "cat")
    assert [path.parts[-2] for path in data.train.take(np.array([0, 4])).images] == ["dog", "cat"]
    with pytest.raises(DatasetError, match=r"missing cow; not expected dog"):
        load_dataset(DatasetSpec(path="pets"), pets, class_ids=("cow", "cat"))


def test_hidden_files_and_folders_are_ignored(pets: Path) -> None:
    before = load(pets).train.images
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
    assert load(pets).train.images == before


def test_digest_depends_on_content_class_and_split_only(pets: Path) -> None:
    digest = load(pets).digest
    (pets / "train/cat/c").rename(pets / "train/cat/zzz")
    write(pets, "classes.tsv")
    assert load(pets).digest == digest, "files renamed and reordered"
    (pets / "test/cat/f").rename(pets / "train/cat/f")
    write(pets, "test/dog/g")
    moved = load(pets).digest
    assert moved != digest, "moved from one split to another"
    (pets / "train/cat/f").rename(pets / "train/dog/f")
    assert load(pets).digest != moved, "moved from one class to another"


def test_changed_byte_changes_the_digest(pets: Path) -> None:
    digest = load(pets).digest
    (pets / "train/cat/c").write_text("train/cat/C")
    assert load(pets).digest != digest


def test_class_names_come_from_the_recipe_then_classes_tsv_then_the_folder(pets: Path) -> None:
    write(pets, "train/n03/x", "train/n04/x")
    (pets / "classes.tsv").write_text("n03\ttabby, tabby cat\n\nn04\tbeaver\nunused\tx\ncat\ncat2\t\n", "utf-8")
    assert load(pets, names={"n04": "castor"}).class_names == ("cat", "dog", "tabby", "castor")


def test_classes_with_the_same_name_are_rejected(pets: Path) -> None:
    with pytest.raises(
        DatasetError, match=r"Two classes are named 'dog'. Give them different names in the recipe's data.names"
    ):
        load(pets, names={"cat": "dog"})


def test_test_set_may_lack_classes_but_not_add_any(pets: Path) -> None:
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
def test_error_names_what_is_missing(tmp_path: Path, files: list[str], expected: str) -> None:
    with pytest.raises(DatasetError, match=expected):
        load(write(tmp_path / "pets", *files))


def test_error_for_a_missing_dataset_says_how_to_give_its_location(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no dataset at .*nosuch. Give its location with --data"):
        load(tmp_path / "nosuch")
    with pytest.raises(DatasetError, match=r"no dataset at .*data/nosuch"):
        load_dataset(DatasetSpec(path="nosuch"))
