"""Predictions for pictures without labels: a table as the post writes it, and a picture of some of them."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.artifacts.catalog import load_classifier
from models.artifacts.store import Store
from models.classifier import Classifier
from models.heads import Head
from models.preprocess import PreprocessSpec, prepare
from tests.support import drawn
from training.errors import DatasetError
from training.estimators.heads import Logistic
from training.evaluation import predictions
from training.heads import save as classifiers
from training.heads.save import Fitted


def made(folder: Path, names: tuple[str, ...], column: int) -> Classifier:
    """Tells by one column of mean colours whether a picture is of the last class."""
    rows = np.random.default_rng(2).random((60, 12), np.float32)
    labels = np.where(rows[:, column] > 0.5, len(names) - 1, np.arange(60) % (len(names) - 1))
    head = Head(Logistic(kind="logistic", C=1).fit(rows, labels, 0))
    fitted = Fitted(head, names, {}, {}, np.empty(0, np.int64))
    saved = classifiers.save(
        drawn.recipe(head={"kind": "logistic"}),
        PreprocessSpec(size=drawn.SIZE),
        drawn.extractor(),
        fitted,
        Store(folder),
    )
    return load_classifier(saved, drawn.extractor())


@pytest.fixture
def pets(tmp_path: Path) -> Classifier:
    return made(tmp_path / "store", ("cat", "dog"), 0)


@pytest.fixture
def images(tmp_path: Path, colours: Path) -> dict[str, Path]:
    """Thirty pictures in a folder below the one that is named, and a hidden file."""
    (tmp_path / "photos" / "unlabelled").mkdir(parents=True)
    for number, file in enumerate(sorted((colours / "test").rglob("*.png"))[:30]):
        shutil.copy(file, tmp_path / "photos" / "unlabelled" / f"{number + 1}, $ö$.png")
    (tmp_path / "photos" / ".hidden").touch()
    return predictions.unlabelled(tmp_path / "photos", tmp_path)


def rows_of(table: Path) -> list[list[str]]:
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def refuse(name: str, why: str) -> None:
    raise AssertionError(f"{name}: {why}")


def test_of_two_classes_the_probability_of_the_second_is_written(
    tmp_path: Path, pets: Classifier, images: dict[str, Path]
) -> None:
    done: list[int] = []
    files = predictions.predict(pets, images, tmp_path / "new" / "folder", refuse, done.append)
    header, *rows = rows_of(files.table)
    assert header == ["Filename", "Predictions"]
    assert [name for name, _ in rows] == list(images)
    assert rows[0][0] == "unlabelled/1, $ö$.png", "as a path below the folder"
    assert sum(done) == 30
    engine, spec = pets.extractor.engine, pets.spec
    for name, prediction in rows[:5]:
        pixels = prepare(images[name].read_bytes(), [spec])[spec]
        expected = pets.consume(engine.run(pixels[None])["pooled"])[0]
        assert float(prediction) == pytest.approx(expected[1], abs=1e-5)
    assert predictions.meaning(pets) == "probability of dog"


def test_of_more_classes_the_likeliest_is_written(tmp_path: Path, images: dict[str, Path]) -> None:
    classifier = made(tmp_path / "store", ("cat", "cow", "dog"), 0)
    files = predictions.predict(classifier, images, tmp_path, refuse)
    assert {prediction for _, prediction in rows_of(files.table)[1:]} <= {"cat", "cow", "dog"}
    assert predictions.meaning(classifier) == "the likeliest class"


def test_25_of_the_pictures_are_drawn_five_by_five(tmp_path: Path, pets: Classifier, images: dict[str, Path]) -> None:
    files = predictions.predict(pets, images, tmp_path, refuse)
    with Image.open(files.grid) as picture:
        assert picture.format == "PNG"
        assert picture.height > picture.width
    figure = predictions.grid([(path, "dog 98%, $x^2$") for path in list(images.values())[:25]])
    assert [axes.get_title() for axes in figure.axes] == ["dog 98%, $x^2$"] * 25
    columns = {round(axes.get_subplotspec().colspan.start) for axes in figure.axes}  # type: ignore[union-attr]
    assert columns == set(range(5))


def test_what_cannot_be_read_is_told_and_the_rest_is_done(
    tmp_path: Path, pets: Classifier, images: dict[str, Path]
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    told: dict[str, str] = {}
    files = predictions.predict(pets, {"broken.png": broken, **images}, tmp_path, told.__setitem__)
    assert set(told) == {"broken.png"}
    assert [name for name, _ in rows_of(files.table)[1:]] == list(images)
    alone = predictions.predict(pets, {"broken.png": broken}, tmp_path, told.__setitem__)
    assert rows_of(alone.table) == [["Filename", "Predictions"]]


def test_an_archive_of_pictures_will_do(tmp_path: Path, images: dict[str, Path]) -> None:
    archive = Path(shutil.make_archive(str(tmp_path / "photos"), "zip", tmp_path / "photos"))
    found = predictions.unlabelled(archive, tmp_path / "cache")
    assert {Path(name).name for name in found} == {Path(name).name for name in images}


@pytest.mark.parametrize("place", ["nosuch", "empty", "empty[1]"])
def test_no_pictures_are_said_in_one_line(tmp_path: Path, place: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty[1]").mkdir()
    with pytest.raises(DatasetError, match="There are no pictures in") as refused:
        predictions.unlabelled(tmp_path / place, tmp_path)
    assert "\n" not in str(refused.value)
