"""Class folders: what is kept, what is rejected, and that nothing half-done stays."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from tests.support.class_folders import GOOD, contents, png, write
from training.data import dataset as datasets
from training.data.layout import SPLITS, ImageFile
from training.errors import DatasetError
from training.ingest.class_folders import Checked, import_folders, resolve_duplicates
from training.ingest.report import ImportReport
from training.recipes.schema import Data


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
    def test_splits_stay_and_bytes_are_copied(self, source: Path, data: Path) -> None:
        report = import_folders("pets", write(source, GOOD | {"classes.tsv": b"cats\tcat, kitty\n"}), data)
        assert contents(data / "pets") == GOOD | {"classes.tsv": b"cats\tcat, kitty\n"}
        assert report.images["train"] == {"cats": 2, "dogs": 1}
        assert (report.total, report.rejected, report.notes) == (5, (), ())
        assert [entry.name for entry in data.iterdir()] == ["pets"]

    def test_class_folders_without_splits_are_for_training(self, source: Path, data: Path) -> None:
        files = {"cats/1.png": png(1), "dogs/1.png": png(2), "README.md": b"about"}
        import_folders("pets", write(source, files), data)
        assert set(contents(data / "pets")) == {"train/cats/1.png", "train/dogs/1.png"}

    def test_folders_around_the_dataset_are_passed_through(self, source: Path, data: Path) -> None:
        import_folders("pets", write(source / "a" / "b", GOOD), data)
        assert contents(data / "pets") == GOOD

    def test_split_alone_stays_a_split(self, source: Path, data: Path) -> None:
        import_folders("pets", write(source, {"Test/cats/1.png": png(1), "Test/dogs/1.png": png(2)}), data)
        assert set(contents(data / "pets")) == {"test/cats/1.png", "test/dogs/1.png"}

    def test_class_may_be_named_as_a_split_is(self, source: Path, data: Path) -> None:
        report = import_folders("things", write(source, {"train/1.png": png(1), "bus/1.png": png(2)}), data)
        assert report.images == {"train": {"bus": 1, "train": 1}}

    def test_hidden_files_are_passed_over(self, source: Path, data: Path) -> None:
        hidden = {"train/cats/.DS_Store": b"x", "train/.git/x/1.png": png(8), "__MACOSX/train/cats/._1.png": b"x"}
        report = import_folders("pets", write(source, GOOD | hidden), data)
        assert contents(data / "pets") == GOOD
        assert not report.rejected

    def test_names_of_any_script(self, source: Path, data: Path) -> None:
        files = {"train/Känguru/ä ö.png": png(1), "train/犬/仔犬.png": png(2), "train/[b]$x$/%s.png": png(3)}
        report = import_folders("Zoo 動物園", write(source, files), data)
        assert contents(data / "Zoo 動物園") == files
        assert report.images["train"] == {"Känguru": 1, "[b]$x$": 1, "犬": 1}

    def test_dataset_can_be_trained_on(self, source: Path, data: Path) -> None:
        import_folders("pets", write(source, GOOD), data)
        dataset = datasets.load(Data(path="pets"), data / "pets")
        assert dataset.ids == ("cats", "dogs")

    def test_importing_what_was_imported_changes_nothing(self, source: Path, data: Path) -> None:
        import_folders("pets", write(source, GOOD | {"train/cats/3.png": b"broken"}), data)
        import_folders("again", data / "pets", data)
        assert contents(data / "again") == GOOD

    def test_source_may_be_the_dataset_itself(self, source: Path, data: Path) -> None:
        import_folders("pets", write(source, GOOD), data)
        import_folders("pets", data / "pets", data, replace=True)
        assert contents(data / "pets") == GOOD


class TestRejected:
    def test_what_is_no_image_is_listed_with_its_reason(self, source: Path, data: Path) -> None:
        bad = {
            "train/cats/cut.png": png(6)[:60],
            "train/cats/empty.jpg": b"",
            "train/cats/notes.txt": b"these are cats",
            "train/dogs/phone.heic": b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic",
            "train/loose.png": png(7),
        }
        report = import_folders("pets", write(source, GOOD | bad), data)
        found = reasons(report)
        assert found.keys() == bad.keys()
        assert "cut short or damaged" in found["train/cats/cut.png"]
        assert "empty" in found["train/cats/empty.jpg"]
        assert "not an image" in found["train/cats/notes.txt"]
        assert "HEIC" in found["train/dogs/phone.heic"]
        assert found["train/loose.png"] == "lies in no class folder"
        with (data / "pets" / "rejected.csv").open(encoding="utf-8", newline="") as file:
            assert {row["path"]: row["reason"] for row in csv.DictReader(file)} == found
        assert contents(data / "pets").keys() == {*GOOD, "rejected.csv"}
        text = printed(report)
        assert "Rejected: 5" in text
        assert "train/cats/cut.png" in text
        assert "Warning: 5 rejected" in text

    def test_same_image_twice_in_a_class_is_kept_once(self, source: Path, data: Path) -> None:
        report = import_folders("pets", write(source, GOOD | {"train/cats/copy.png": png(1)}), data)
        assert reasons(report) == {"train/cats/copy.png": "the same image as train/cats/1.png"}

    def test_same_image_under_two_labels_is_rejected_twice(self, source: Path, data: Path) -> None:
        twins = {"train/cats/x.png": png(9), "train/dogs/y.png": png(9), "test/dogs/z.png": png(9)}
        report = import_folders("pets", write(source, GOOD | twins), data)
        assert reasons(report) == {
            "train/cats/x.png": "the same image under two labels: also train/dogs/y.png",
            "train/dogs/y.png": "the same image under two labels: also train/cats/x.png",
            "test/dogs/z.png": "the same image under two labels: also train/cats/x.png",
        }

    def test_image_to_test_with_is_not_trained_on(self, source: Path, data: Path) -> None:
        report = import_folders("pets", write(source, GOOD | {"train/dogs/leak.png": png(5)}), data)
        assert reasons(report) == {"train/dogs/leak.png": "the same image as test/dogs/1.png"}
        assert "test/dogs/1.png" in contents(data / "pets")

    def test_class_that_comes_to_nothing_is_told(self, source: Path, data: Path) -> None:
        more = {"train/birds/1.png": b"x", "test/fish/1.png": png(7)}
        report = import_folders("pets", write(source, GOOD | more), data)
        assert report.notes == (
            "no usable image in train/birds; the class is left out there",
            "test has classes without training images: fish",
        )
        assert "Note: no usable image in train/birds" in printed(report)

    def test_folder_beside_the_splits_is_told(self, source: Path, data: Path) -> None:
        report = import_folders("pets", write(source, GOOD | {"raw/cats/1.png": png(7)}), data)
        assert reasons(report) == {"raw": "lies in no class folder"}

    def test_names_that_would_disturb_a_terminal_are_escaped(self, source: Path, data: Path) -> None:
        files = GOOD | {"train/cats/\x1b[31m\n[red]x": b"x"}
        broken_name = os.fsdecode(b"train/cats/\xff.png")
        report = import_folders("pets", write(source, files | {broken_name: b"x"}), data)
        assert reasons(report).keys() == {r"train/cats/\x1b[31m\n[red]x", r"train/cats/\udcff.png"}
        assert r"\x1b[31m\n[red]x" in printed(report)

    def test_very_many_are_listed_in_the_file_and_not_on_the_screen(self, source: Path, data: Path) -> None:
        report = import_folders("pets", write(source, GOOD | {f"train/cats/{i:03}": b"x" for i in range(100)}), data)
        assert len((data / "pets" / "rejected.csv").read_text().splitlines()) == 101
        text = printed(report)
        assert "and 60 more" in text
        assert len(text.splitlines()) < 100

    def test_nothing_usable(self, source: Path, data: Path) -> None:
        with pytest.raises(DatasetError, match="None of the 30 files") as raised:
            import_folders("pets", write(source, {f"train/cats/{i:02}.png": b"x" for i in range(30)}), data)
        assert "train/cats/00.png: This is not an image" in str(raised.value)
        assert not list(data.iterdir())


class TestRefused:
    @pytest.mark.parametrize("files", [{}, {"1.png": png(1)}, {"readme.md": b"x"}])
    def test_source_without_class_folders(self, source: Path, data: Path, files: dict[str, bytes]) -> None:
        source.mkdir()
        with pytest.raises(DatasetError, match="one folder for each class"):
            import_folders("pets", write(source, files), data)
        assert not list(data.iterdir())

    def test_missing_source(self, data: Path) -> None:
        with pytest.raises(DatasetError, match="nothing at"):
            import_folders("pets", data / "missing", data)

    @pytest.mark.parametrize("name", ["", ".", "..", "../pets", "/tmp/pets", ".pets", "a\nb"])
    def test_name_that_is_no_folder(self, source: Path, data: Path, name: str) -> None:
        with pytest.raises(DatasetError, match="cannot name a folder"):
            import_folders(name, write(source, GOOD), data)


checked_files = st.lists(
    st.tuples(st.sampled_from(SPLITS), st.sampled_from("abc"), st.sampled_from(["", "1", "2", "3", "4"])), max_size=30
)


@settings(deadline=None)
@given(checked_files)
def test_each_image_is_kept_once_unless_its_label_is_in_doubt(files: Sequence[tuple[str, str, str]]) -> None:
    root = Path("/source")
    checked = [
        Checked(
            ImageFile(root / split / label / str(number), split, root / split / label), digest, "" if digest else "?"
        )
        for number, (split, label, digest) in enumerate(files)
    ]
    kept, rejected = resolve_duplicates(checked, root)
    assert len(kept) + len(rejected) == len(checked)
    digests = {item.file: item.digest for item in checked}
    labels = {digest: {item.file.label for item in checked if item.digest == digest} for _, _, digest in files}
    assert sorted(digests[file] for file in kept) == sorted(
        digest for digest, found in labels.items() if digest and len(found) == 1
    )
    for file in kept:
        splits = {item.file.split for item in checked if item.digest == digests[file]}
        assert file.split != "train" or splits == {"train"}
