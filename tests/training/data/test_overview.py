"""Counts, sizes, formats and pictures of a dataset."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from models.arrays import decode_array
from training.data.overview import Overview, survey
from training.errors import DatasetError
from training.reporting.overview_plots import class_counts, draw, sample_grid, sizes


def picture(path: Path, size: tuple[int, int] = (32, 32), colour: str = "red") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def printed(overview: Overview) -> str:
    console = Console(record=True, width=150, file=io.StringIO())
    console.print(overview.tables())
    return console.export_text()


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    root = tmp_path / "pets"
    for index in range(4):
        picture(root / "train" / "cats" / f"{index}.png", (40, 30), "green")
    picture(root / "train" / "dogs" / "1.jpg", (100, 50), "blue")
    picture(root / "test" / "dogs" / "2.jpg", (60, 80), "blue")
    return root


def test_counts_sizes_and_formats(dataset: Path) -> None:
    (dataset / "train" / "dogs" / "broken.jpg").write_bytes(b"no image")
    overview = survey(dataset)
    assert overview.splits == ["train", "test"]
    assert overview.counts() == {"cats": {"train": 4}, "dogs": {"train": 1, "test": 1}}
    text = " ".join(printed(overview).split())
    assert "6 images of 2 classes" in text
    assert "│ dogs │ 1 │ 1 │" in text
    assert "│ all │ 5 │ 1 │" in text
    assert "│ train │ PNG 4, JPEG 1 │ 40 / 40 / 100 │ 30 / 30 / 50 │" in text
    assert "1 files are no images that can be read: train/dogs/broken.jpg" in text


def test_only_headers_are_read(dataset: Path) -> None:
    whole = (dataset / "train" / "cats" / "0.png").read_bytes()
    (dataset / "train" / "cats" / "0.png").write_bytes(whole[:50])
    assert survey(dataset).counts()["cats"]["train"] == 4


def test_plain_names_come_from_classes_tsv(dataset: Path) -> None:
    (dataset / "classes.tsv").write_text("cats\tpet, cat\ndogs\tpet, dog\n")
    assert survey(dataset).names == {"cats": "pet (cats)", "dogs": "pet (dogs)"}


def test_very_many_classes_are_shortened(tmp_path: Path) -> None:
    for index in range(70):
        picture(tmp_path / "many" / f"class {index:02}" / "1.png")
    picture(tmp_path / "many" / "class 33" / "2.png", colour="blue")
    overview = survey(tmp_path / "many")
    text = printed(overview)
    assert "class 00" in text
    assert "class 40" not in text
    assert "class 33" in text, "the largest class is among those shown"
    assert len(draw(overview, tmp_path / "pictures")) == 3


def test_pictures_show_the_images(dataset: Path, tmp_path: Path) -> None:
    overview = survey(dataset, "my pets")
    files = draw(overview, tmp_path / "new" / "folder")
    assert [file.name for file in files] == ["sample_grid.png", "class_counts.png", "sizes.png"]
    grid = decode_array(files[0].read_bytes())
    for colour in ((0, 128, 0), (0, 0, 255)):
        assert (np.abs(grid.astype(int) - colour).max(axis=2) < 12).sum() > 64 * 50
    assert all(len(np.unique(decode_array(file.read_bytes()))) > 2 for file in files[1:])


def test_pictures_say_what_they_show(dataset: Path) -> None:
    overview = survey(dataset)
    assert {text.get_text() for text in sample_grid(overview).axes[0].texts} == {"cats", "dogs"}
    bars = class_counts(overview).axes[0]
    assert [label.get_text() for label in bars.get_yticklabels()] == ["cats", "dogs"]
    assert "most often 40 × 30 px" in sizes(overview).axes[0].get_title(loc="left")


def test_samples_are_the_same_each_time(dataset: Path) -> None:
    first, second = (sample_grid(survey(dataset)).axes[0].images[0].get_array() for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_names_of_any_kind_are_drawn_as_they_are(tmp_path: Path) -> None:
    names = ["犬", "Känguru", "$x$ $", "$$", "a_b^c", r"\frac", "[red]", "%s", "x" * 200]
    for name in names:
        picture(tmp_path / "$_^" / name / "1.png")
    overview = survey(tmp_path / "$_^")
    assert all(name[:80] in printed(overview) for name in names)
    assert len(draw(overview, tmp_path / "pictures")) == 3


def test_image_that_cannot_be_decoded_leaves_a_gap(dataset: Path) -> None:
    for path in (dataset / "train" / "cats").iterdir():
        path.write_bytes(path.read_bytes()[:50])
    sample_grid(survey(dataset))


def test_nothing_to_see(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="one folder for each class"):
        survey(tmp_path)
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats" / "1.png").write_bytes(b"x")
    with pytest.raises(DatasetError, match="None of the 1 files"):
        survey(tmp_path)
