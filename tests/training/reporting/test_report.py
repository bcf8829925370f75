"""The report: one file that needs nothing else, in sentences, and every figure as JSON."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import drawn
from tests.support import tiny_models as tiny
from training.data import dataset as datasets
from training.evaluation import metrics
from training.evaluation.results import ClassifierResults, Predictions
from training.network.history import Figures, HistoryRecord
from training.recipes.schema import Data
from training.reporting.report import write

CLASSES = ("<b>blau</b>", "grün", "灰色", "r$t$")
HISTORY = [
    HistoryRecord(
        step=step,
        passes=step / 10,
        learning_rate=0.1,
        loss={"top": 1.0},
        holdout={"top": Figures(images=8, accuracy=0.5, log_loss=1.2)},
    )
    for step in (10, 20)
]
TRIED: dict[str, Any] = {
    "folds": 5,
    "best": 1,
    "trials": [
        {"parameters": {"source": 16, "head": "ridge", "alpha": 30.0}, "log_loss": 0.5, "accuracy": 0.7},
        {"parameters": {"source": 32, "head": "ridge", "alpha": 30.0}, "log_loss": 0.4, "accuracy": 0.8},
    ],
}


class Page(HTMLParser):
    """What a browser would fetch, and what a person would read."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.words: list[str] = []
        self.tags: set[str] = set()
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]

    def handle_data(self, data: str) -> None:
        self.words += data.split()

    @property
    def text(self) -> str:
        return " ".join(self.words)


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> ClassifierResults:
    """Forty pictures, of which the last class is taken for the first."""
    folder = drawn.colours(tmp_path_factory.mktemp("report"), train=2, test=10)
    split = datasets.load(Data(path="colours", train="test", test=""), folder).train
    probabilities = np.full((40, 4), 0.05, np.float32)
    probabilities[np.arange(40), np.where(split.labels == 3, 0, split.labels)] = 0.85
    manifest = tiny.classifier_manifest({}, classes=CLASSES, metrics={}, tuning=TRIED)
    extractor = drawn.extractor().manifest
    below = extractor.model_copy(
        update={"fitted_on": {"history": [each.model_dump(mode="json", exclude_none=True) for each in HISTORY]}}
    )
    return ClassifierResults(manifest, below, {"test": Predictions(split, probabilities)}, ("a/<i>.txt: no image",))


@pytest.fixture(scope="module")
def folder(findings: ClassifierResults, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "colours-1"
    assert write(findings, folder) == folder / "report.html"
    return folder


def test_the_page_holds_all_its_pictures_and_no_address(folder: Path) -> None:
    source = (folder / "report.html").read_text(encoding="utf-8")
    page = Page(source)
    assert {address.partition(";")[0] for address in page.fetched} == {"data:image/png", "data:image/jpeg"}
    assert not re.search(r"https?:|url\(|@import|<script|<link", source)
    assert len(page.fetched) == 3 + 10, "confusions, reliability, learning curves, and each mistake"
    assert sorted(path.name for path in folder.iterdir()) == ["metrics.json", "report.html"]


def test_it_says_in_sentences_what_was_found(folder: Path) -> None:
    text = Page((folder / "report.html").read_text(encoding="utf-8")).text
    assert "Of 40 pictures in the set “test” it names 30 rightly: 75.0 % . It learned from none of them." in text
    assert "expect it to name between 59.8 % and 85.8 % rightly." in text
    assert "would be right for 25.0 %. It is clearly better than that." in text
    assert "how sure it is: 85.0 % on average, and it is right for 75.0 %. It is too sure of itself." in text
    assert "“r$t$” taken for “<b>blau</b>”, 10 of 10 times." in text
    assert "source 32, head ridge, alpha 30 (taken)" in text


def test_names_are_text_and_never_markup(folder: Path) -> None:
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    assert not page.tags & {"b", "i", "script"}
    assert "a/<i>.txt: no image" in page.text
    assert "灰色" in page.text


def test_the_figures_are_those_that_are_measured(folder: Path, findings: ClassifierResults) -> None:
    figures = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    answers = findings.answers["test"]
    expected = metrics.measure(answers.probabilities, answers.split.labels, CLASSES)
    assert (figures["accuracy"], figures["log_loss"]) == (expected.accuracy, pytest.approx(expected.log_loss))
    assert tuple(figures["accuracy_interval"]) == pytest.approx(expected.accuracy_interval)
    assert figures["confusion_matrix"][3] == [10, 0, 0, 0]
    assert figures["classes"][0] == {"name": CLASSES[0], "images": 10, "recall": 1.0, "precision": 0.5}
    assert sum(each["images"] for each in figures["reliability"]) == 40
    assert [record["step"] for record in figures["learning"]] == [10, 20]


def test_without_mistakes_and_without_a_fit_the_page_says_so(findings: ClassifierResults, tmp_path: Path) -> None:
    split = findings.answers["test"].split
    right = np.eye(4, dtype=np.float32)[split.labels]
    plain = ClassifierResults(findings.manifest, drawn.extractor().manifest, {"valid": Predictions(split, right)})
    text = Page(write(plain, tmp_path).read_text(encoding="utf-8")).text
    assert "It made no mistake here." in text
    assert "How the network learned" not in text
    assert "What was left out" not in text
    assert "can be taken at its word" in text
