"""Labelled images on disk: their classes, labels, names and digest."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest

from training.data.dataset import Dataset, load_dataset
from training.data.split import holdout_indices
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


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_classes_tsv_may_begin_with_a_byte_order_mark(pets: Path, encoding: str) -> None:
    (pets / "classes.tsv").write_text("cat\tkitty\ndog\tpuppy\n", encoding)
    assert load(pets).class_names == ("kitty", "puppy")


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_classes_tsv_of_another_encoding_is_an_error(pets: Path, encoding: str) -> None:
    (pets / "classes.tsv").write_text("cat\tKätzchen\n", encoding)
    with pytest.raises(DatasetError, match=r"classes.tsv cannot be read .* Save it as UTF-8"):
        load(pets)


def test_class_names_are_compared_and_stored_normalized(pets: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "Käfer") for form in ("NFC", "NFD"))
    write(pets, f"train/{decomposed}/x", f"test/{composed}/y")
    (pets / "classes.tsv").write_text(f"{composed}\tgroßer {decomposed}\n", "utf-8")
    data = load(pets)
    assert data.class_ids == (composed, "cat", "dog")
    assert data.class_names == (f"großer {composed}", "cat", "dog")
    assert load(pets, names={decomposed: "beetle"}).class_names[0] == "beetle"
    assert load_dataset(DatasetSpec(path="pets"), pets, class_ids=("dog", "cat", decomposed)).class_ids[2] == composed
    assert data.test is not None
    assert data.test.labels.tolist() == [0, 1]


@pytest.mark.parametrize(("train", "test"), [("Training", "test_set"), ("training_set", "Testing")])
def test_splits_may_have_other_names_than_in_the_recipe(pets: Path, train: str, test: str) -> None:
    expected = load(pets).digest
    (pets / "train").rename(pets / train)
    (pets / "test").rename(pets / test)
    assert load(pets).digest == expected


def test_two_folders_for_a_named_split_are_an_error(pets: Path) -> None:
    write(pets, "val/cat/x", "Validation/cat/y")
    with pytest.raises(DatasetError, match="Validation and val"):
        load(pets, valid="valid")


def test_entries_that_are_not_used_are_named(pets: Path) -> None:
    write(pets, "readme.md", "valid/cat/x", "train/stray", "classes.tsv")
    (pets / "train" / "empty").mkdir()
    (pets / "test" / "cat" / "more").symlink_to(pets / "valid")
    assert set(load(pets).left_out) == {
        "readme.md: is not in a split of the recipe",
        "valid: is not in a split of the recipe",
        "train/stray: is not in a class folder",
        "train/empty: is an empty folder",
        "test/cat/more: is a link to a folder, and links to folders are not followed",
    }


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


def test_images_without_labels_may_lie_in_a_flat_folder(tmp_path: Path) -> None:
    root = write(tmp_path / "pets", "b.jpg", "a.jpg", "classes.tsv", ".DS_Store")
    with pytest.raises(DatasetError, match="holds no folders of images"):
        load(root, train="", test=None)
    data = load_dataset(DatasetSpec(path="pets", train="", test=""), root, labelled=False)
    assert [path.parts[-1] for path in data.train.images] == ["a.jpg", "b.jpg"]
    assert len(data.class_ids) == 1
    assert data.left_out == ()


def test_empty_folder_of_images_without_labels_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "pets").mkdir()
    with pytest.raises(DatasetError, match="holds no folders of images"):
        load_dataset(DatasetSpec(path="pets", train="", test=""), tmp_path / "pets", labelled=False)


def test_folders_of_images_without_labels_may_contain_the_same_folders(tmp_path: Path) -> None:
    files = [f"{part}/{name}/{number}" for part in ("one", "two") for name in ("cats", "dogs") for number in range(2)]
    root = write(tmp_path / "pets", *files, "README")
    with pytest.raises(DatasetError, match="contain the same folders"):
        load(root, train="", test=None)
    data = load_dataset(DatasetSpec(path="pets", train="", test=""), root, labelled=False)
    assert len(data.train) == 8
    assert data.left_out == ("README: is not in a class folder",)


def test_same_images_are_held_out_with_and_without_labels(tmp_path: Path) -> None:
    root = write(tmp_path / "pets", *(f"train/{name}/{number:02}" for name in ("cat", "dog") for number in range(60)))
    labelled, unlabelled = load(root, test=None), load_dataset(TRAIN_ONLY, root, labelled=False)
    held_out = [{data.train.digests[index] for index in holdout_indices(data.train)} for data in (labelled, unlabelled)]
    assert len(held_out[0]) == 6
    assert held_out[0] == held_out[1]
