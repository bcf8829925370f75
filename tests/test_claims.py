"""Figures in the documents and in the shipped cards are those of their sources; those without one are listed."""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict
from functools import cache

import pytest

from models.artifacts.store import DEFAULT_STORE, Store
from models.manifests import CARD_FILE, Metrics
from tests.support.figure_sources import OUTSIDE, claims
from tests.support.figures import Claim, claim, constant, documents, figures_in, states, text_of
from tests.support.paths import ROOT

CLAIMS = list(claims())
UNRECORDED = tomllib.loads((ROOT / "docs" / "unrecorded.toml").read_text(encoding="utf-8"))["line"]
MAX_UNRECORDED = 224
"""Only ever lowered: of a figure that is measured from now on, the output is kept."""


def errors_of(claimed: Claim, text: str) -> list[str]:
    """Return how a document differs from the source of a claim; it may state the claim several times."""
    matches = list(claimed.pattern.finditer(text))
    if not matches:
        return [f"{claimed.document} does not say {claimed.words!r}"]
    return [
        f"{claimed.document}: {match[0]!r}, but the source has {value}"
        for match in matches
        for shown, value in zip(match.groups(), claimed.values, strict=True)
        if not states(shown, value)
    ]


def spans_with_a_source(document: str, text: str) -> set[int]:
    """Return the positions of all figures that a claim or a fact from outside covers."""
    spans = [
        match.span(group)
        for claimed in CLAIMS
        if claimed.document == document
        for match in claimed.pattern.finditer(text)
        for group in range(1, len(claimed.values) + 1)
    ]
    for place, words, _ in OUTSIDE:
        pattern = r"\s+".join(map(re.escape, words.split()))
        spans += [match.span() for match in re.finditer(pattern, text) if place == document]
    return {position for start, end in spans for position in range(start, end)}


@cache
def other_figures(document: str) -> dict[str, list[str]]:
    """Return the figures without another source by the heading above them, in order."""
    text = text_of(document)
    covered = spans_with_a_source(document, text)
    found: dict[str, list[str]] = defaultdict(list)
    for figure in figures_in(text):
        if figure.start not in covered:
            found[figure.section].append(figure.text)
    return dict(found)


@pytest.mark.parametrize("claimed", CLAIMS, ids=lambda claimed: f"{claimed.document}: {claimed.words[:40]}")
def test_figure_is_that_of_its_source(claimed: Claim) -> None:
    assert errors_of(claimed, text_of(claimed.document)) == []


@pytest.mark.parametrize("document", documents())
def test_no_figure_is_without_a_source(document: str) -> None:
    """Give a new one a claim in `figure_sources`; if it is measured, keep what `python -m benchmarks --json` wrote."""
    listed: dict[str, list[str]] = defaultdict(list)
    for entry in UNRECORDED:
        if entry["document"] == document:
            listed[entry["section"]] += entry["figures"]
    assert other_figures(document) == dict(listed)


def test_list_of_unrecorded_figures_only_shrinks() -> None:
    assert sum(len(entry["figures"]) for entry in UNRECORDED) <= MAX_UNRECORDED
    assert [entry["of"] for entry in UNRECORDED if entry["of"] not in (ROOT / entry["document"]).read_text()] == []


def test_facts_from_outside_are_in_their_document_and_have_a_citation() -> None:
    for document, words, citation in OUTSIDE:
        assert citation, words
        assert " ".join(words.split()) in " ".join((ROOT / document).read_text().split()), words


def figures_of(metrics: Metrics) -> list[float]:
    shares = (metrics.accuracy, *metrics.accuracy_interval, metrics.most_frequent, metrics.top5_accuracy)
    return [*(100 * (share or 0) for share in shares), metrics.log_loss, metrics.expected_calibration_error]


def test_cards_have_the_metrics_of_their_manifests() -> None:
    row = re.compile(r"^\| (\w+) \| ([\d,]+) \| (.+) \|$", re.MULTILINE)
    for artifact in Store(DEFAULT_STORE).classifiers():
        rows = {name: (images, cells) for name, images, cells in row.findall(artifact.read(CARD_FILE).decode())}
        assert rows.keys() == artifact.manifest.metrics.keys()
        for name, metrics in artifact.manifest.metrics.items():
            images, cells = rows[name]
            assert int(images.replace(",", "")) == metrics.images
            shown = re.findall(r"\d+\.\d+", "|".join(cells.split("|")[:5]))  # notes follow
            assert [states(*pair) for pair in zip(shown, figures_of(metrics), strict=True)] == [True] * len(shown), name


def test_cards_have_the_accuracies_of_their_manifests() -> None:
    row = re.compile(r"^\| ([^|]+) \| (\d+\.\d+) % \|$", re.MULTILINE)
    for artifact in Store(DEFAULT_STORE).classifiers():
        by_class = artifact.manifest.metrics["test"].accuracy_by_class
        shown = dict(row.findall(artifact.read(CARD_FILE).decode()))
        assert shown.keys() == by_class.keys()
        assert {name for name, text in shown.items() if not states(text, 100 * by_class[name])} == set()
    for extractor in Store(DEFAULT_STORE).extractors():
        table = re.findall(
            r"^\| (\w+:\w+) \| ([\d.]+) % \| ([\d.]+) % \|$", extractor.read(CARD_FILE).decode(), re.MULTILINE
        )
        engines = {name: engine for name, engine in extractor.manifest.engines.items() if engine.accuracy}
        assert {name for name, *_ in table} == engines.keys()
        for name, *shown in table:
            accuracies = [100 * engines[name].accuracy[top] for top in extractor.manifest.tops]
            assert all(states(*pair) for pair in zip(shown, accuracies, strict=True)), name


def test_8_bits_cost_no_accuracy_where_documents_say_so() -> None:
    places = [name for name in documents() if re.search(r"costs? no\s+accuracy", (ROOT / name).read_text())]
    assert places
    engines = Store(DEFAULT_STORE).extractor("inception_v3_96").manifest.engines
    float32, int8 = engines["tensorflow:float32"].accuracy, engines["openvino:int8"].accuracy
    assert all(int8[top] >= float32[top] for top in float32), places


# --- the comparison itself


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [("88.7", 88.68, True), ("88.6", 88.68, False), (".887", 0.8868, True), ("1,000", 1000, True), ("16", 17, False)],
)
def test_figure_states_a_value_within_its_rounding(text: str, value: float, expected: bool) -> None:
    assert states(text, value) is expected


def test_wrong_and_missing_figures_are_found() -> None:
    limit = claim("README.md", "at most {} MB", 20)
    assert errors_of(limit, "It has at most 20 MB.") == []
    assert errors_of(limit, "It has at\nmost 21 MB.")
    assert errors_of(limit, "It has no limit.")


def test_figures_are_found_and_versions_and_addresses_are_not() -> None:
    text = "# Title\n.8176 of 5 %, 1,200 MB in 0.5 s; 127.0.0.1, 1.2.3, v2.5, 3 apples\n"
    assert [(figure.text, figure.section) for figure in figures_in(text)] == [
        (".8176", "Title"),
        ("5", "Title"),
        ("1,200", "Title"),
        ("0.5", "Title"),
    ]


def test_constants_are_read_with_their_arithmetic() -> None:
    assert constant("app/server/request_head.py", "MAX_HEAD_BYTES") == 16 * 1024
    assert constant("models/artifacts/proof_worker.py", "_HEAD_BYTES") == 2 * 2**30
    with pytest.raises(AssertionError, match="has no constant NOTHING"):
        constant("app/server/request_head.py", "NOTHING")
