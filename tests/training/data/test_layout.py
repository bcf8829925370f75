"""Which folders of a dataset are splits and classes, and that every other entry is named."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from tests.support.class_folders import write
from training.data.layout import Layout, detect_layout, find_split, split_of
from training.errors import DatasetError
from training.runtime.names import printable_path

NFC, NFD = (unicodedata.normalize(form, "Käfer") for form in ("NFC", "NFD"))


def tree(root: Path, *files: str) -> Path:
    """Write files whose content is their path; nothing here reads an image."""
    return write(root, {name: os.fsencode(name) for name in files})


def found(layout: Layout) -> set[tuple[str, str]]:
    return {(file.split, file.label) for file in layout.files}


def unused(layout: Layout) -> dict[str, str]:
    return {printable_path(entry.path, layout.root): entry.reason for entry in (*layout.unused, *layout.loose)}


@pytest.mark.parametrize(
    ("split", "names"),
    [
        ("train", ["train", "Training", "training_set", "TRAIN", "Training Set", "train-set", "trainset"]),
        ("valid", ["valid", "val", "Validation", "VAL", "validation_set"]),
        ("test", ["test", "testing", "test_set", "Test-Set", "TESTING"]),
        (
            None,
            [
                "trains",
                "retrain",
                "tests",
                "test1",
                "contest",
                "value",
                "set",
                "_set",
                "train set 2",
                "vals",
                "",
                "te\u017ft",
            ],
        ),
    ],
)
def test_names_of_splits_are_recognized_in_any_case(split: str | None, names: list[str]) -> None:
    assert {split_of(name) for name in names} == {split}


@pytest.mark.parametrize(
    ("train", "valid", "test"),
    [("train", "val", "test"), ("Training_Set", "VALIDATION", "Test Set"), ("training", "valid", "testing")],
)
def test_splits_of_any_name_are_found(tmp_path: Path, train: str, valid: str, test: str) -> None:
    layout = detect_layout(tree(tmp_path, *(f"{split}/{label}/1" for split in (train, valid, test) for label in "ab")))
    assert found(layout) == {(split, label) for split in ("train", "valid", "test") for label in "ab"}
    assert unused(layout) == {}


def test_split_inside_a_folder_of_the_same_name_is_found(tmp_path: Path) -> None:
    files = [
        f"archive/{split}/{split}/{label}/1" for split in ("training_set", "test_set") for label in ("cats", "dogs")
    ]
    layout = detect_layout(tree(tmp_path, *files, "archive/test_set/notes.txt"))
    assert found(layout) == {(split, label) for split in ("train", "test") for label in ("cats", "dogs")}
    assert unused(layout) == {"test_set/notes.txt": "is not in a class folder"}


def test_folder_named_like_a_split_around_the_splits_is_skipped(tmp_path: Path) -> None:
    layout = detect_layout(tree(tmp_path, "training/train/a/1", "training/train/b/2", "training/test/a/3"))
    assert found(layout) == {("train", "a"), ("train", "b"), ("test", "a")}


@pytest.mark.parametrize(
    ("first", "second"), [("train", "Training"), ("val", "validation"), ("test", "test_set"), ("Test", "testing")]
)
def test_two_folders_for_one_split_are_an_error(tmp_path: Path, first: str, second: str) -> None:
    tree(tmp_path, f"{first}/a/1", f"{second}/a/2", "train/b/3")
    with pytest.raises(DatasetError) as error:
        detect_layout(tmp_path)
    assert first in str(error.value)
    assert second in str(error.value)


@pytest.mark.parametrize(
    "files",
    [
        ["part1/cats/1", "part1/dogs/1", "part2/cats/1", "part2/dogs/1"],
        ["part1/cats/1", "part1/dogs/1", "part2/Cats/1", "part2/DOGS/1", "part2/birds/1"],
        ["a/a/cats/1", "a/a/dogs/1", "b/b/cats/1", "b/b/dogs/1"],
        ["one/cats/1", "one/dogs/1", "one/labels.csv", "two/cats/1", "two/dogs/deep/1", "docs/readme"],
        ["dev/cats/1", "dev/dogs/1", "eval/cats/1", "eval/dogs/1", "holdout/cats/1", "holdout/dogs/1"],
        [f"x/{NFC}/1", "x/b/1", f"y/{NFD}/1", "y/b/1"],
        ["cats/train/1", "cats/test/1", "dogs/train/1", "dogs/test/1"],
        ["train/part1/cats/1", "train/part1/dogs/1", "train/part2/cats/1", "train/part2/dogs/1", "test/cats/1"],
    ],
)
def test_classes_that_contain_the_same_folders_are_an_error(tmp_path: Path, files: list[str]) -> None:
    with pytest.raises(
        DatasetError, match=r"contain the same folders \(.*\), so they are no classes.*train/CLASS/FILE"
    ):
        detect_layout(tree(tmp_path, *files))


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["train/1", "test/1"], "test, train"),
        (["Training_set/1", "Validation/1", "docs/1"], "Training_set, Validation"),
    ],
)
def test_splits_without_class_folders_are_an_error(tmp_path: Path, files: list[str], names: str) -> None:
    with pytest.raises(DatasetError, match=f"has the splits {names}, but no class folders in them"):
        detect_layout(tree(tmp_path, *files))


@pytest.mark.parametrize(
    "files",
    [
        ["cats/2023/1", "dogs/2023/1"],
        ["cats/photos/2023/1", "dogs/photos/2024/1", "dogs/photos/2025/1"],
        ["cats/1", "cats/2", "cats/3", "cats/raw/1", "cats/new/1", "dogs/1", "dogs/2", "dogs/raw/1", "dogs/new/1"],
        ["cats/tabby/1", "cats/siamese/1", "dogs/poodle/1", "dogs/beagle/1"],
        ["cats/tabby/1", "cats/mixed/1", "dogs/poodle/1", "dogs/mixed/1"],
    ],
)
def test_class_folders_may_have_folders(tmp_path: Path, files: list[str]) -> None:
    assert found(detect_layout(tree(tmp_path, *files))) == {("train", "cats"), ("train", "dogs")}


def test_every_unused_entry_of_class_folders_is_named(tmp_path: Path) -> None:
    data = tree(tmp_path / "data", "cats/1", "cats/deep/2", "dogs/1", "README.md", "classes.tsv", "rejected.csv")
    tree(tmp_path / "elsewhere", "3", "4")
    (data / "birds").mkdir()
    (data / "fish" / "deeper").mkdir(parents=True)
    (data / "cats" / "deep" / "empty").mkdir()
    (data / "dogs" / "more").symlink_to(tmp_path / "elsewhere")
    (data / "dogs" / "gone.png").symlink_to(tmp_path / "nowhere")
    (data / "gone").symlink_to(tmp_path / "nowhere")
    (data / "dogs" / "linked.png").symlink_to(tmp_path / "elsewhere" / "3")
    os.mkfifo(data / "cats" / "pipe")
    (data / "geckos").mkdir()
    (data / "geckos" / "only").symlink_to(tmp_path / "elsewhere")
    layout = detect_layout(data)
    assert found(layout) == {("train", "cats"), ("train", "dogs")}
    assert "linked.png" in {file.path.name for file in layout.files}
    link = "is a link to a folder, and links to folders are not followed"
    assert unused(layout) == {
        "README.md": "is not in a class folder",
        "gone": "is a link that leads nowhere",
        "birds": "is an empty folder",
        "fish": "has no files that can be used",
        "fish/deeper": "is an empty folder",
        "cats/deep/empty": "is an empty folder",
        "cats/pipe": "is neither a file nor a folder",
        "dogs/more": link,
        "dogs/gone.png": "is a link that leads nowhere",
        "geckos": "has no files that can be used",
        "geckos/only": link,
    }


def test_every_unused_entry_beside_splits_is_named(tmp_path: Path) -> None:
    data = tree(tmp_path, "train/a/1", "train/b/1", "raw/a/1", "test/1.png", "notes.txt", "train/loose.png")
    (data / "train" / "c").mkdir()
    assert unused(detect_layout(data)) == {
        "raw": "is not in a class folder",
        "test": "is named like a split, but has no class folders",
        "notes.txt": "is not in a class folder",
        "train/loose.png": "is not in a class folder",
        "train/c": "is an empty folder",
    }


def test_files_beside_the_only_folder_are_named(tmp_path: Path) -> None:
    layout = detect_layout(tree(tmp_path, "readme.txt", "pets/cats/1", "pets/dogs/1", "pets/license"))
    assert unused(layout) == {"../readme.txt": "is not in a class folder", "license": "is not in a class folder"}


def test_linked_class_folder_is_used(tmp_path: Path) -> None:
    data = tree(tmp_path / "data", "cats/1", "dogs/1")
    tree(tmp_path / "elsewhere", "2")
    (data / "birds").symlink_to(tmp_path / "elsewhere")
    assert ("train", "birds") in found(detect_layout(data))


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_unreadable_folder_is_named(tmp_path: Path) -> None:
    data = tree(tmp_path, "cats/1", "cats/secret/2", "dogs/1")
    (data / "cats" / "secret").chmod(0)
    try:
        assert unused(detect_layout(data)) == {"cats/secret": "cannot be read (Permission denied)"}
    finally:
        (data / "cats" / "secret").chmod(0o700)


def test_metadata_of_file_managers_is_ignored(tmp_path: Path) -> None:
    metadata = [
        "Thumbs.db",
        "cats/DESKTOP.INI",
        "cats/__macosx/1",
        "cats/.cache/1",
        "dogs/._1",
        ".git/a/1",
        "__MACOSX/b/1",
    ]
    layout = detect_layout(tree(tmp_path, "cats/1", "dogs/1", *metadata))
    assert len(layout.files) == 2
    assert unused(layout) == {}


def test_folders_with_the_same_normalized_name_are_one_class(tmp_path: Path) -> None:
    tree(tmp_path, f"{NFC}/1", "b/1")
    (tmp_path / NFD).mkdir()
    if len(list(tmp_path.iterdir())) < 3:
        pytest.skip("this file system normalizes names")
    layout = detect_layout(tree(tmp_path, f"{NFD}/2"))
    assert found(layout) == {("train", NFC), ("train", "b")}
    assert len(layout.files) == 3


def test_class_folder_that_is_not_utf8_is_an_error_in_one_line(tmp_path: Path) -> None:
    tree(tmp_path, "a/1")
    try:
        tree(tmp_path, os.fsdecode(b"k\xe4fer/1"))
    except OSError:
        pytest.skip("file names must be UTF-8 on this file system")
    with pytest.raises(DatasetError, match=r"class folder .*k\\xe4fer is not UTF-8\. Rename") as error:
        detect_layout(tmp_path)
    assert str(error.value).isprintable()


def test_named_split_is_found_by_its_other_names(tmp_path: Path) -> None:
    tree(tmp_path, "Training_Set/a/1", "val/a/1", "valid/a/1", "custom/a/1")
    assert find_split(tmp_path, "train").name == "Training_Set"
    assert find_split(tmp_path, "val").name == "val", "the exact name comes first"
    assert find_split(tmp_path, "valid").name == "valid"
    assert find_split(tmp_path, "custom").name == "custom"
    assert find_split(tmp_path, "test") == tmp_path / "test"
    with pytest.raises(DatasetError, match="val and valid"):
        find_split(tmp_path, "validation")
