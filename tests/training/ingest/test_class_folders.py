"""Import of class folders: which files are kept, which are rejected, and why."""

from __future__ import annotations

import csv
import io
import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from tests.support.class_folders import GOOD, contents, png, write
from training.data.dataset import load_dataset
from training.data.layout import SPLITS, ImageFile
from training.errors import DatasetError
from training.ingest.class_folders import CheckedFile, import_class_folders, resolve_duplicates
from training.ingest.report import ImportReport
from training.recipes.data import DatasetSpec


def reasons(report: ImportReport) -> dict[str, str]:
    return {item.path: item.reason for item in report.rejected}


def printed(report: ImportReport) -> str:
    console = Console(record=True, width=200, file=io.StringIO())
    console.print(report.summary())
    return console.export_text()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "source"


class TestKept:
    def test_splits_are_kept_and_bytes_are_copied(self, source: Path, data: Path) -> None:
        report = import_class_folders("pets", write(source, GOOD | {"classes.tsv": b"cats\tcat, kitty\n"}), data)
        assert contents(data / "pets") == GOOD | {"classes.tsv": b"cats\tcat, kitty\n"}
        assert report.images["train"] == {"cats": 2, "dogs": 1}
        assert (report.total, report.rejected, report.notes) == (5, (), ())
        assert [entry.name for entry in data.iterdir()] == ["pets"]

    def test_class_folders_without_splits_are_for_training(self, source: Path, data: Path) -> None:
        files = {"cats/1.png": png(1), "dogs/1.png": png(2), "README.md": b"about"}
        import_class_folders("pets", write(source, files), data)
        assert set(contents(data / "pets")) == {"train/cats/1.png", "train/dogs/1.png"}

    def test_folders_around_the_dataset_are_skipped(self, source: Path, data: Path) -> None:
        import_class_folders("pets", write(source / "a" / "b", GOOD), data)
        assert contents(data / "pets") == GOOD

    def test_single_split_stays_a_split(self, source: Path, data: Path) -> None:
        import_class_folders("pets", write(source, {"Test/cats/1.png": png(1), "Test/dogs/1.png": png(2)}), data)
        assert set(contents(data / "pets")) == {"test/cats/1.png", "test/dogs/1.png"}

    def test_splits_are_stored_under_their_short_names(self, source: Path, data: Path) -> None:
        files = {"Training Set/cats/1.png": png(1), "VAL/cats/1.png": png(2), "testing/cats/1.png": png(3)}
        import_class_folders("pets", write(source, files), data)
        assert set(contents(data / "pets")) == {"train/cats/1.png", "valid/cats/1.png", "test/cats/1.png"}

    def test_files_of_two_folders_of_one_class_are_all_kept(self, source: Path, data: Path) -> None:
        composed, decomposed = (unicodedata.normalize(form, "Käfer") for form in ("NFC", "NFD"))
        files = {f"{composed}/1.png": png(1), f"{decomposed}/1.png": png(2), f"{decomposed}/2.png": png(3)}
        write(source, files | {"dogs/1.png": png(4)})
        if len(list(source.iterdir())) < 3:
            pytest.skip("this file system normalizes names")
        report = import_class_folders("pets", source, data)
        assert report.images == {"train": {composed: 3, "dogs": 1}}
        assert sorted(contents(data / "pets").values()) == sorted([*files.values(), png(4)])
        assert {path.name for path in (data / "pets" / "train").iterdir()} == {composed, "dogs"}

    def test_class_may_have_the_name_of_a_split(self, source: Path, data: Path) -> None:
        report = import_class_folders("things", write(source, {"train/1.png": png(1), "bus/1.png": png(2)}), data)
        assert report.images == {"train": {"bus": 1, "train": 1}}

    def test_hidden_files_are_ignored(self, source: Path, data: Path) -> None:
        hidden = {"train/cats/.DS_Store": b"x", "train/.git/x/1.png": png(8), "__MACOSX/train/cats/._1.png": b"x"}
        report = import_class_folders("pets", write(source, GOOD | hidden), data)
        assert contents(data / "pets") == GOOD
        assert not report.rejected

    def test_non_latin_names_are_kept(self, source: Path, data: Path) -> None:
        files = {"train/Känguru/ä ö.png": png(1), "train/犬/仔犬.png": png(2), "train/[b]$x$/%s.png": png(3)}
        report = import_class_folders("Zoo 動物園", write(source, files), data)
        assert contents(data / "Zoo 動物園") == files
        assert report.images["train"] == {"Känguru": 1, "[b]$x$": 1, "犬": 1}

    def test_imported_dataset_can_be_loaded(self, source: Path, data: Path) -> None:
        import_class_folders("pets", write(source, GOOD), data)
        dataset = load_dataset(DatasetSpec(path="pets"), data / "pets")
        assert dataset.class_ids == ("cats", "dogs")

    def test_importing_an_imported_dataset_changes_nothing(self, source: Path, data: Path) -> None:
        import_class_folders("pets", write(source, GOOD | {"train/cats/3.png": b"broken"}), data)
        import_class_folders("again", data / "pets", data)
        assert contents(data / "again") == GOOD

    def test_dataset_can_be_imported_onto_itself(self, source: Path, data: Path) -> None:
        import_class_folders("pets", write(source, GOOD), data)
        import_class_folders("pets", data / "pets", data, replace=True)
        assert contents(data / "pets") == GOOD


class TestRejected:
    def test_files_that_are_not_images_are_listed_with_the_reason(self, source: Path, data: Path) -> None:
        bad = {
            "train/cats/cut.png": png(6)[:60],
            "train/cats/empty.jpg": b"",
            "train/cats/notes.txt": b"these are cats",
            "train/dogs/phone.heic": b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic",
            "train/loose.png": png(7),
        }
        report = import_class_folders("pets", write(source, GOOD | bad), data)
        rejected = reasons(report)
        assert rejected.keys() == bad.keys()
        assert "truncated or damaged" in rejected["train/cats/cut.png"]
        assert "empty" in rejected["train/cats/empty.jpg"]
        assert "not an image" in rejected["train/cats/notes.txt"]
        assert "HEIC" in rejected["train/dogs/phone.heic"]
        assert rejected["train/loose.png"] == "is not in a class folder"
        with (data / "pets" / "rejected.csv").open(encoding="utf-8", newline="") as file:
            assert {row["path"]: row["reason"] for row in csv.DictReader(file)} == rejected
        assert contents(data / "pets").keys() == {*GOOD, "rejected.csv"}
        text = printed(report)
        assert "Rejected: 5" in text
        assert "train/cats/cut.png" in text
        assert "Warning: 5 files rejected" in text

    def test_duplicate_in_a_class_is_kept_once(self, source: Path, data: Path) -> None:
        report = import_class_folders("pets", write(source, GOOD | {"train/cats/copy.png": png(1)}), data)
        assert reasons(report) == {"train/cats/copy.png": "the same image as train/cats/1.png"}

    def test_image_under_two_labels_is_rejected_everywhere(self, source: Path, data: Path) -> None:
        twins = {"train/cats/x.png": png(9), "train/dogs/y.png": png(9), "test/dogs/z.png": png(9)}
        report = import_class_folders("pets", write(source, GOOD | twins), data)
        assert reasons(report) == {
            "train/cats/x.png": "the same image under two labels: also train/dogs/y.png",
            "train/dogs/y.png": "the same image under two labels: also train/cats/x.png",
            "test/dogs/z.png": "the same image under two labels: also train/cats/x.png",
        }

    def test_copy_of_a_test_image_is_not_a_training_image(self, source: Path, data: Path) -> None:
        report = import_class_folders("pets", write(source, GOOD | {"train/dogs/leak.png": png(5)}), data)
        assert reasons(report) == {"train/dogs/leak.png": "the same image as test/dogs/1.png"}
        assert "test/dogs/1.png" in contents(data / "pets")

    def test_class_without_usable_images_is_noted(self, source: Path, data: Path) -> None:
        more = {"train/birds/1.png": b"x", "test/fish/1.png": png(7)}
        report = import_class_folders("pets", write(source, GOOD | more), data)
        assert report.notes == (
            "no usable image in train/birds: this class folder is skipped",
            "test has classes without training images: fish",
        )
        assert "Note: no usable image in train/birds" in printed(report)

    def test_folder_beside_the_splits_is_rejected(self, source: Path, data: Path) -> None:
        report = import_class_folders("pets", write(source, GOOD | {"raw/cats/1.png": png(7)}), data)
        assert reasons(report) == {"raw": "is not in a class folder"}

    def test_links_and_empty_folders_are_rejected(self, source: Path, data: Path) -> None:
        write(source, GOOD)
        (source / "train" / "birds").mkdir()
        (source / "train" / "cats" / "more").symlink_to(source / "train" / "dogs")
        assert reasons(import_class_folders("pets", source, data)) == {
            "train/birds": "is an empty folder",
            "train/cats/more": "is a link to a folder, and links to folders are not followed",
        }

    def test_loose_files_are_noted(self, source: Path, data: Path) -> None:
        report = import_class_folders("pets", write(source, GOOD | {"README.md": b"about", "1.png": png(9)}), data)
        assert report.rejected == ()
        assert report.notes == ("not imported, because not in a class folder: 1.png, README.md",)
        many = write(source, {f"{number:02}.png": png(9) for number in range(30)})
        note = import_class_folders("many", many, data).notes[0]
        assert "00.png, 01.png" in note
        assert note.endswith("and 22 more")

    def test_control_characters_in_names_are_escaped(self, source: Path, data: Path) -> None:
        files = GOOD | {"train/cats/\x1b[31m\n[red]x": b"x"}
        broken_name = os.fsdecode(b"train/cats/\xff.png")
        report = import_class_folders("pets", write(source, files | {broken_name: b"x"}), data)
        assert reasons(report).keys() == {r"train/cats/\x1b[31m\n[red]x", r"train/cats/\xff.png"}
        assert r"train/cats/\xff.png" in (data / "pets" / "rejected.csv").read_text(encoding="utf-8")
        assert r"\x1b[31m\n[red]x" in printed(report)

    def test_long_list_of_rejected_files_is_complete_only_in_the_file(self, source: Path, data: Path) -> None:
        report = import_class_folders(
            "pets", write(source, GOOD | {f"train/cats/{i:03}": b"x" for i in range(100)}), data
        )
        assert len((data / "pets" / "rejected.csv").read_text().splitlines()) == 101
        text = printed(report)
        assert "and 60 more" in text
        assert len(text.splitlines()) < 100

    def test_source_without_usable_images_is_rejected(self, source: Path, data: Path) -> None:
        with pytest.raises(DatasetError, match="None of the 30 files") as raised:
            import_class_folders("pets", write(source, {f"train/cats/{i:02}.png": b"x" for i in range(30)}), data)
        assert "train/cats/00.png: This is not an image" in str(raised.value)
        assert not list(data.iterdir())


class TestInvalidSource:
    @pytest.mark.parametrize("files", [{}, {"1.png": png(1)}, {"readme.md": b"x"}])
    def test_source_without_class_folders_is_rejected(self, source: Path, data: Path, files: dict[str, bytes]) -> None:
        source.mkdir()
        with pytest.raises(DatasetError, match="one folder for each class"):
            import_class_folders("pets", write(source, files), data)
        assert not list(data.iterdir())

    def test_splits_of_unknown_names_are_rejected(self, source: Path, data: Path) -> None:
        files = {f"part{part}/{label}/1.png": png(part) for part in (1, 2) for label in ("cats", "dogs")}
        with pytest.raises(DatasetError, match=r"part1, part2 contain the same folders \(cats, dogs\)"):
            import_class_folders("pets", write(source, files), data)
        assert not list(data.iterdir())

    def test_missing_source_is_rejected(self, data: Path) -> None:
        with pytest.raises(DatasetError, match="nothing at"):
            import_class_folders("pets", data / "missing", data)

    @pytest.mark.parametrize("name", ["", ".", "..", "../pets", "/tmp/pets", ".pets", "a\nb"])
    def test_invalid_dataset_name_is_rejected(self, source: Path, data: Path, name: str) -> None:
        with pytest.raises(DatasetError, match="cannot name a folder"):
            import_class_folders(name, write(source, GOOD), data)


checked_files = st.lists(
    st.tuples(st.sampled_from(SPLITS), st.sampled_from("abc"), st.sampled_from(["", "1", "2", "3", "4"])), max_size=30
)


@settings(deadline=None)
@given(checked_files)
def test_each_image_is_kept_once_unless_its_labels_conflict(files: Sequence[tuple[str, str, str]]) -> None:
    root = Path("/source")
    checked = [
        CheckedFile(
            ImageFile(root / split / label / str(number), split, root / split / label), digest, "" if digest else "?"
        )
        for number, (split, label, digest) in enumerate(files)
    ]
    kept, rejected = resolve_duplicates(checked, root)
    assert len(kept) + len(rejected) == len(checked)
    digests = {item.file: item.digest for item in checked}
    labels = {digest: {item.file.label for item in checked if item.digest == digest} for _, _, digest in files}
    assert sorted(digests[file] for file in kept) == sorted(
        digest for digest, names in labels.items() if digest and len(names) == 1
    )
    for file in kept:
        splits = {item.file.split for item in checked if item.digest == digests[file]}
        assert file.split != "train" or splits == {"train"}
