"""Predictions for unlabelled images: the table, and the plot of some of the images."""

from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.arrays import Floats
from models.artifacts.catalog import load_classifier
from models.artifacts.store import Store
from models.classifier import Classifier
from models.heads import Head
from models.preprocess import PreprocessSpec, prepare
from tests.support import colour_dataset
from tests.support.undecodable_names import write_file
from training.errors import DatasetError
from training.estimators.linear import Logistic
from training.evaluation import predictions
from training.heads import save as classifiers
from training.heads.save import TrainedHead


def save_linear_classifier(folder: Path, names: tuple[str, ...], column: int) -> Classifier:
    """A classifier that recognizes its last class by one column of the mean colours."""
    rows = np.random.default_rng(2).random((60, 12), np.float32)
    labels = np.where(rows[:, column] > 0.5, len(names) - 1, np.arange(60) % (len(names) - 1))
    head = Head(Logistic(kind="logistic", C=1).fit(rows, labels, 0))
    fitted = TrainedHead(head, names, {}, {}, np.empty(0, np.int64))
    saved = classifiers.save_classifier(
        colour_dataset.recipe(head={"kind": "logistic"}),
        PreprocessSpec(size=colour_dataset.SIZE),
        colour_dataset.extractor(),
        fitted,
        Store(folder),
    )
    return load_classifier(saved, colour_dataset.extractor())


@pytest.fixture
def pets(tmp_path: Path) -> Classifier:
    return save_linear_classifier(tmp_path / "store", ("cat", "dog"), 0)


@pytest.fixture
def images(tmp_path: Path, colours: Path) -> dict[str, Path]:
    """Thirty images in a subfolder, and a hidden file."""
    (tmp_path / "photos" / "unlabelled").mkdir(parents=True)
    for number, file in enumerate(sorted((colours / "test").rglob("*.png"))[:30]):
        shutil.copy(file, tmp_path / "photos" / "unlabelled" / f"{number + 1}, $ö$.png")
    (tmp_path / "photos" / ".hidden").touch()
    return predictions.find_unlabelled_images(tmp_path / "photos", tmp_path)


def rows_of(table: Path) -> list[list[str]]:
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_each_image_gets_its_most_likely_class_and_score(
    tmp_path: Path, pets: Classifier, images: dict[str, Path]
) -> None:
    advanced: list[int] = []
    files = predictions.write_predictions(pets, images, tmp_path / "new" / "folder", {}, advanced.append)
    header, *rows = rows_of(files.table)
    assert header == ["file", "label", "score", "error"]
    assert [row[0] for row in rows] == list(images)
    assert rows[0][0] == "unlabelled/1, $ö$.png", "the path in the folder"
    assert sum(advanced) == 30
    for name, label, score, error in rows[:5]:
        expected = probabilities(pets, images[name])
        assert (label, error) == (pets.classes[int(expected.argmax())], "")
        assert float(score) == pytest.approx(expected.max(), abs=1e-5)


def test_post_has_the_probability_of_the_second_class(
    tmp_path: Path, pets: Classifier, images: dict[str, Path]
) -> None:
    files = predictions.write_predictions(pets, images, tmp_path, {}, as_post=True)
    header, *rows = rows_of(files.table)
    assert header == ["Filename", "Predictions"]
    assert [name for name, _ in rows] == list(images)
    for name, prediction in rows[:5]:
        assert float(prediction) == pytest.approx(probabilities(pets, images[name])[1], abs=1e-5)


def test_post_has_the_most_likely_of_more_classes(tmp_path: Path, images: dict[str, Path]) -> None:
    classifier = save_linear_classifier(tmp_path / "store", ("cat", "cow", "dog"), 0)
    post = rows_of(predictions.write_predictions(classifier, images, tmp_path / "post", {}, as_post=True).table)[1:]
    table = rows_of(predictions.write_predictions(classifier, images, tmp_path / "table", {}).table)[1:]
    assert post == [row[:2] for row in table]


def probabilities(classifier: Classifier, file: Path) -> Floats:
    """Return the probabilities [classes] of an image, without the code for many images."""
    pixels = prepare(file.read_bytes(), [classifier.spec])[classifier.spec]
    row: Floats = classifier.consume(classifier.extractor.engine.run(pixels[None])["pooled"])[0]
    return row


def test_25_of_the_images_are_plotted_five_by_five(tmp_path: Path, pets: Classifier, images: dict[str, Path]) -> None:
    files = predictions.write_predictions(pets, images, tmp_path, {})
    with Image.open(files.plot) as plot:
        assert plot.format == "PNG"
        assert plot.height > plot.width
    figure = predictions.plot_grid([(path, "dog 98%, $x^2$") for path in list(images.values())[:25]])
    assert [axes.get_title() for axes in figure.axes] == ["dog 98%, $x^2$"] * 25
    columns = {round(axes.get_subplotspec().colspan.start) for axes in figure.axes}  # type: ignore[union-attr]
    assert columns == set(range(5))


def test_unreadable_images_are_reported_and_have_a_row(
    tmp_path: Path, pets: Classifier, images: dict[str, Path]
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"not an image")
    failures = {"damaged.png": "damaged in the archive"}
    files = predictions.write_predictions(pets, {"broken.png": broken, **images}, tmp_path, failures)
    assert set(failures) == {"broken.png", "damaged.png"}
    first, *rows, last = rows_of(files.table)[1:]
    assert first == ["broken.png", "", "", failures["broken.png"]]
    assert [row[0] for row in rows] == list(images)
    assert last == ["damaged.png", "", "", "damaged in the archive"]
    alone = predictions.write_predictions(pets, {"broken.png": broken}, tmp_path, {})
    assert rows_of(alone.table) == [["file", "label", "score", "error"], first]


def test_names_that_are_not_utf8_are_written_as_escapes(
    tmp_path: Path, pets: Classifier, images: dict[str, Path]
) -> None:
    folder, content = tmp_path / "old", next(iter(images.values())).read_bytes()
    folder.mkdir()
    for name in (b"caf\xe8.png", b"caf\xe9.png", "café.png".encode()):
        write_file(folder, name, content)
    found = predictions.find_unlabelled_images(folder, tmp_path)
    assert {os.fsencode(name) for name in found} == {b"caf\xe8.png", b"caf\xe9.png", "café.png".encode()}
    files = predictions.write_predictions(pets, found, tmp_path / "out", {})
    assert {row[0] for row in rows_of(files.table)[1:]} == {r"caf\xe8.png", r"caf\xe9.png", "café.png"}


def test_metadata_of_file_managers_is_left_out(tmp_path: Path, images: dict[str, Path]) -> None:
    for name in ("Thumbs.db", "__MACOSX/1.png", "unlabelled/.picasaoriginals/1.png", "unlabelled/desktop.ini"):
        (tmp_path / "photos" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "photos" / name).touch()
    assert predictions.find_unlabelled_images(tmp_path / "photos", tmp_path) == images


def test_images_are_read_from_an_archive(tmp_path: Path, images: dict[str, Path]) -> None:
    archive = Path(shutil.make_archive(str(tmp_path / "photos"), "zip", tmp_path / "photos"))
    names = predictions.find_unlabelled_images(archive, tmp_path / "cache")
    assert {Path(name).name for name in names} == {Path(name).name for name in images}


@pytest.mark.parametrize("location", ["nosuch", "empty", "empty[1]"])
def test_location_without_images_is_a_one_line_error(tmp_path: Path, location: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty[1]").mkdir()
    with pytest.raises(DatasetError, match="There are no images in") as raised:
        predictions.find_unlabelled_images(tmp_path / location, tmp_path)
    assert "\n" not in str(raised.value)
