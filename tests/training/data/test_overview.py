"""Counts, sizes, formats and plots of a dataset."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from models.preprocess import decode_array
from tests.support.undecodable_names import write_file
from training.data.overview import Overview, read_overview
from training.errors import DatasetError
from training.reporting import overview_plots
from training.reporting.overview_plots import plot_class_counts, plot_sample_grid, plot_sizes, write_plots


def write_image(path: Path, size: tuple[int, int] = (32, 32), colour: str = "red") -> None:
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
        write_image(root / "train" / "cats" / f"{index}.png", (40, 30), "green")
    write_image(root / "train" / "dogs" / "1.jpg", (100, 50), "blue")
    write_image(root / "test" / "dogs" / "2.jpg", (60, 80), "blue")
    return root


def test_counts_sizes_and_formats(dataset: Path) -> None:
    (dataset / "train" / "dogs" / "broken.jpg").write_bytes(b"not an image")
    overview = read_overview(dataset)
    assert overview.splits == ["train", "test"]
    assert overview.counts() == {"cats": {"train": 4}, "dogs": {"train": 1, "test": 1}}
    text = " ".join(printed(overview).split())
    assert "6 images of 2 classes" in text
    assert all(header.bytes == header.file.path.stat().st_size for header in overview.headers)
    assert "│ dogs │ 1 │ 1 │" in text
    assert "│ all │ 5 │ 1 │" in text
    assert "│ train │ PNG 4, JPEG 1 │ 40 / 40 / 100 │ 30 / 30 / 50 │" in text
    assert "1 files are not readable images: train/dogs/broken.jpg" in text


def test_entries_that_are_not_used_are_named(dataset: Path) -> None:
    (dataset / "train" / "birds").mkdir()
    (dataset / "README.md").touch()
    text = " ".join(printed(read_overview(dataset)).split())
    assert "2 entries are not used: train/birds is an empty folder, README.md is not in a class folder" in text


def test_only_headers_are_read(dataset: Path) -> None:
    whole = (dataset / "train" / "cats" / "0.png").read_bytes()
    (dataset / "train" / "cats" / "0.png").write_bytes(whole[:50])
    assert read_overview(dataset).counts()["cats"]["train"] == 4


def test_plain_names_come_from_classes_tsv(dataset: Path) -> None:
    (dataset / "classes.tsv").write_text("cats\tpet, cat\ndogs\tpet, dog\n")
    assert read_overview(dataset).class_names == {"cats": "pet (cats)", "dogs": "pet (dogs)"}


def test_table_of_many_classes_is_shortened(tmp_path: Path) -> None:
    for index in range(70):
        write_image(tmp_path / "many" / f"class {index:02}" / "1.png")
    write_image(tmp_path / "many" / "class 33" / "2.png", colour="blue")
    overview = read_overview(tmp_path / "many")
    text = printed(overview)
    assert "class 00" in text
    assert "class 40" not in text
    assert "class 33" in text, "the largest class is among those shown"
    assert len(write_plots(overview, tmp_path / "plots")) == 3


def test_plots_show_the_images(dataset: Path, tmp_path: Path) -> None:
    overview = read_overview(dataset, "my pets")
    files = write_plots(overview, tmp_path / "new" / "folder")
    assert [file.name for file in files] == ["sample_grid.png", "class_counts.png", "sizes.png"]
    grid = decode_array(files[0].read_bytes())
    for colour in ((0, 128, 0), (0, 0, 255)):
        assert (np.abs(grid.astype(int) - colour).max(axis=2) < 12).sum() > 64 * 50
    assert all(len(np.unique(decode_array(file.read_bytes()))) > 2 for file in files[1:])


def test_plots_are_labelled(dataset: Path) -> None:
    overview = read_overview(dataset)
    assert {text.get_text() for text in plot_sample_grid(overview).axes[0].texts} == {"cats", "dogs"}
    bars = plot_class_counts(overview).axes[0]
    assert [label.get_text() for label in bars.get_yticklabels()] == ["cats", "dogs"]
    assert "most common: 40 × 30 px" in plot_sizes(overview).axes[0].get_title(loc="left")


def test_samples_are_reproducible(dataset: Path) -> None:
    first, second = (plot_sample_grid(read_overview(dataset)).axes[0].images[0].get_array() for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_class_names_are_drawn_literally(tmp_path: Path) -> None:
    names = ["犬", "Känguru", "$x$ $", "$$", "a_b^c", r"\frac", "[red]", "%s", "x" * 200]
    for name in names:
        write_image(tmp_path / "$_^" / name / "1.png")
    overview = read_overview(tmp_path / "$_^")
    assert all(name[:80] in printed(overview) for name in names)
    assert len(write_plots(overview, tmp_path / "plots")) == 3


def test_dataset_in_a_folder_that_is_not_utf8_is_plotted(tmp_path: Path) -> None:
    folder = write_file(tmp_path, b"k\xe4fer", b"")
    folder.unlink()
    write_image(folder / "cats" / "1.png")
    overview = read_overview(folder)
    assert r"k\xe4fer: samples of 1 classes" in plot_sample_grid(overview).axes[0].get_title(loc="left")
    assert len(write_plots(overview, tmp_path / "plots")) == 3


def test_undecodable_image_leaves_a_gap(dataset: Path) -> None:
    for path in (dataset / "train" / "cats").iterdir():
        path.write_bytes(path.read_bytes()[:50])
    plot_sample_grid(read_overview(dataset))


def test_dataset_without_readable_images_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="one folder for each class"):
        read_overview(tmp_path)
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats" / "1.png").write_bytes(b"x")
    with pytest.raises(DatasetError, match="None of the 1 files"):
        read_overview(tmp_path)


def test_shortened_table_shows_as_many_of_the_smallest_as_of_the_largest_classes(tmp_path: Path) -> None:
    for index in range(41):
        for number in range(1 + (index > 20)):
            write_image(tmp_path / "many" / f"class {index:02}" / f"{number}.png")
    shown = re.findall(r"class (\d\d)", printed(read_overview(tmp_path / "many")))
    assert [int(number) for number in shown] == [*range(20), *range(21, 41)]


@pytest.mark.parametrize(("labels", "count"), [(5, 5), (5, 9), (6, 3), (200, 7), (201, 200)])
def test_labels_are_evenly_spaced_over_all_of_them(labels: int, count: int) -> None:
    chosen = [int(label) for label in overview_plots._evenly_spaced([str(number) for number in range(labels)], count)]
    assert (len(chosen), chosen[0]) == (min(labels, count), 0)
    gaps = np.diff([*chosen, labels])
    assert gaps.max() - gaps.min() <= 1
