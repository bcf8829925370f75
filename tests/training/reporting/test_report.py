"""The report: a self-contained page with sentences, and all figures as JSON."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.manifests import SetRecord
from tests.support import colour_dataset
from tests.support.manifests import classifier_manifest
from training.data.dataset import load_dataset
from training.data.split import StoredImage
from training.evaluation import metrics
from training.evaluation.results import ClassifierResults, LabelledPredictions
from training.network.history import HistoryRecord, TopMetrics
from training.recipes.data import DatasetSpec
from training.reporting.report import write_report

CLASSES = ("<b>blau</b>", "grün", "灰色", "r$t$")
HISTORY = [
    HistoryRecord(
        step=step,
        passes=step / 10,
        learning_rate=0.1,
        loss={"top": 1.0},
        holdout={"top": TopMetrics(images=8, accuracy=0.5, log_loss=1.2)},
    )
    for step in (10, 20)
]
TUNING: dict[str, Any] = {
    "folds": 5,
    "best": 1,
    "trials": [
        {"parameters": {"source": 16, "head": "ridge", "alpha": 30.0}, "log_loss": 0.5, "accuracy": 0.7},
        {"parameters": {"source": 32, "head": "ridge", "alpha": 30.0}, "log_loss": 0.4, "accuracy": 0.8},
    ],
}


class Page(HTMLParser):
    """The addresses that a browser would fetch, and the text of a page."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.words: list[str] = []
        self.tags: set[str] = set()
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]

    def handle_data(self, data: str) -> None:
        self.words += data.split()

    @property
    def text(self) -> str:
        return " ".join(self.words)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> ClassifierResults:
    """Predictions for 40 images, in which the last class is taken for the first."""
    folder = colour_dataset.write(tmp_path_factory.mktemp("report"), train=2, test=10)
    split = load_dataset(DatasetSpec(path="colours", train="test", test=""), folder).train
    probabilities = np.full((40, 4), 0.05, np.float32)
    probabilities[np.arange(40), np.where(split.labels == 3, 0, split.labels)] = 0.85
    manifest = classifier_manifest({}, classes=CLASSES, metrics={}, tuning=TUNING)
    extractor = colour_dataset.extractor().manifest
    below = extractor.model_copy(
        update={"fitted_on": {"history": [each.model_dump(mode="json", exclude_none=True) for each in HISTORY]}}
    )
    predictions = {"test": LabelledPredictions(split, probabilities)}
    record = SetRecord(digest="", images=40, fitted_by_network=3, measured_before=2, measured_by=("<b>@1",))
    return ClassifierResults(manifest, below, predictions, ("a/<i>.txt: no image",), {"test": record})


@pytest.fixture(scope="module")
def folder(results: ClassifierResults, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "colours-1"
    assert write_report(results, folder) == folder / "report.html"
    return folder


def test_page_contains_all_its_images_and_no_external_address(folder: Path) -> None:
    source = (folder / "report.html").read_text(encoding="utf-8")
    page = Page(source)
    assert {address.partition(";")[0] for address in page.addresses} == {"data:image/png", "data:image/jpeg"}
    assert not re.search(r"https?:|url\(|@import|<script|<link", source)
    assert len(page.addresses) == 3 + 10, "confusions, reliability, learning curves, and each mistake"
    assert sorted(path.name for path in folder.iterdir()) == ["metrics.json", "report.html"]


def test_page_states_the_results_in_sentences(folder: Path) -> None:
    text = Page((folder / "report.html").read_text(encoding="utf-8")).text
    assert "It classifies 30 of the 40 images in the set “test” correctly: 75.0 % . With few images, chance" in text
    assert (
        "recorded of these images: optimistic: the network or its initial weights had been fitted on 3 of its 40"
        in text
    )
    assert "measured 2 times before, by <b>@1" in text
    assert "of the same kind, expect between 59.8 % and 85.8 %." in text
    assert "would be correct for 25.0 %. The classifier is clearly better than that." in text
    assert (
        "a confidence: 85.0 % on average, and 75.0 % of the answers are correct. The classifier is overconfident."
        in text
    )
    assert "“r$t$” classified as “<b>blau</b>”, 10 of 10 times." in text
    assert "source 32, head ridge, alpha 30 (chosen)" in text


def test_names_are_escaped(folder: Path) -> None:
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    assert not page.tags & {"b", "i", "script"}
    assert "a/<i>.txt: no image" in page.text
    assert "灰色" in page.text


def test_figures_are_those_that_are_measured(folder: Path, results: ClassifierResults) -> None:
    figures = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    answers = results.predictions["test"]
    expected = metrics.measure(answers.probabilities, answers.split.labels, CLASSES)
    assert (figures["accuracy"], figures["log_loss"]) == (expected.accuracy, pytest.approx(expected.log_loss))
    assert tuple(figures["accuracy_interval"]) == pytest.approx(expected.accuracy_interval)
    assert figures["confusion_matrix"][3] == [10, 0, 0, 0]
    assert figures["classes"][0] == {"name": CLASSES[0], "images": 10, "recall": 1.0, "precision": 0.5}
    assert sum(each["images"] for each in figures["reliability"]) == 40
    assert [record["step"] for record in figures["learning"]] == [10, 20]


def test_page_without_mistakes_and_without_a_fit(results: ClassifierResults, tmp_path: Path) -> None:
    split = results.predictions["test"].split
    right = np.eye(4, dtype=np.float32)[split.labels]
    plain = ClassifierResults(
        results.manifest, colour_dataset.extractor().manifest, {"valid": LabelledPredictions(split, right)}
    )
    text = Page(write_report(plain, tmp_path).read_text(encoding="utf-8")).text
    assert "It made no mistakes here." in text
    assert "Training of the network" not in text
    assert "Files left out, and notes" not in text
    assert "the confidence is about right" in text


@dataclass(frozen=True)
class RenamedImage:
    """An image under another name."""

    image: StoredImage
    name: str

    @property
    def parts(self) -> tuple[str, ...]:
        return (*self.image.parts[:-1], self.name)

    def read_bytes(self) -> bytes:
        return self.image.read_bytes()


def test_names_that_are_not_utf8_are_written_as_escapes(results: ClassifierResults, tmp_path: Path) -> None:
    predictions = results.predictions["test"]
    images = tuple(
        RenamedImage(image, os.fsdecode(f"caf{number}".encode() + b"\xe9.png"))
        for number, image in enumerate(predictions.split.images)
    )
    renamed = LabelledPredictions(replace(predictions.split, images=images), predictions.probabilities)
    excluded = (os.fsdecode(b"k\xe4se.txt: not an image"), r"k\xe4se2.txt: escaped before")
    changed = replace(results, predictions={"test": renamed}, excluded_files=excluded)
    text = Page(write_report(changed, tmp_path).read_text(encoding="utf-8")).text
    for expected in (r"caf39\xe9.png", r"k\xe4se.txt: not an image", r"k\xe4se2.txt: escaped before"):
        assert expected in text
