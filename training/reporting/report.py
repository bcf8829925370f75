"""The report of a classifier: report.html, one file that contains its plots, and metrics.json with all figures.

The page is written for readers without a background in machine learning: sentences first, then figures with their
meaning, then plots.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from models.console.encoding import json_text, path_text, valid_text
from models.manifests import Metrics
from training.evaluation import confusion, metrics
from training.evaluation.results import ClassifierResults, LabelledPredictions
from training.network import history
from training.reporting import report_plots

PAGE, FIGURES = "report.html", "metrics.json"

_MAX_MISTAKES = 24
_MAX_CONFUSED_PAIRS = 10

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    autoescape=True,
)
_TEMPLATES.filters["percent"] = lambda share: "" if share is None else f"{100 * share:.1f} %"


def write_report(results: ClassifierResults, folder: Path) -> Path:
    """Write both files into a folder, which is created if it is missing, and return the path of the page."""
    folder.mkdir(parents=True, exist_ok=True)
    name, predictions = results.primary_set
    figures = report_figures(results)
    (folder / FIGURES).write_text(json_text(figures, indent=2) + "\n", encoding="utf-8")
    page = _TEMPLATES.get_template(PAGE).render(
        figures=figures,
        manifest=results.manifest,
        set=name,
        notes=figures["recorded"],
        most_frequent=results.manifest.classes[int(np.bincount(predictions.split.labels).argmax())],
        correct=int((predictions.probabilities.argmax(axis=1) == predictions.split.labels).sum()),
        confidence=float(predictions.probabilities.max(axis=1).mean()),
        mistakes=_mistakes(results, predictions),
        plots=_plots(results, figures),
        excluded_files=results.excluded_files,
    )
    (folder / PAGE).write_text(valid_text(page), encoding="utf-8")
    return folder / PAGE


def report_figures(results: ClassifierResults) -> dict[str, Any]:
    """Return all figures of the primary set, and the metrics of the other sets, as metrics.json stores them."""
    manifest, (name, primary) = results.manifest, results.primary_set
    probabilities, labels = primary.probabilities, primary.split.labels
    matrix = confusion.confusion_matrix(probabilities, labels)
    sets = manifest.metrics | {
        key: metrics.measure(predictions.probabilities, predictions.split.labels, manifest.classes)
        for key, predictions in results.predictions.items()
    }
    scores = confusion.class_scores(matrix, manifest.classes)
    pairs = confusion.most_confused_pairs(matrix, manifest.classes, _MAX_CONFUSED_PAIRS)
    return {
        "model": manifest.name,
        "version": manifest.version,
        "extractor": f"{results.extractor.name}@{results.extractor.version}",
        "set": name,
        **_without_classes(sets[name]),
        "classes": [score._asdict() for score in scores],
        "confusion_matrix": matrix.tolist(),
        "confusions": [pair._asdict() for pair in pairs],
        "reliability": [members._asdict() for members in metrics.reliability_bins(probabilities, labels)],
        "recorded": {key: results.notes(key) for key in sets},
        "other_sets": {key: _without_classes(measured) for key, measured in sets.items() if key != name},
        "learning": [
            record.model_dump(mode="json", exclude_none=True)
            for record in history.extractor_history(results.extractor.fitted_on)
        ],
    }


def _without_classes(measured: Metrics) -> dict[str, Any]:
    return measured.model_dump(mode="json", exclude={"accuracy_by_class"})


def _plots(results: ClassifierResults, figures: dict[str, Any]) -> dict[str, str]:
    """Return the plots as data URLs by name; `learning` only if the extractor has a history."""
    _, primary = results.primary_set
    matrix = np.array(figures["confusion_matrix"])
    bins = metrics.reliability_bins(primary.probabilities, primary.split.labels)
    plots = {
        "confusions": report_plots.plot_confusion_matrix(matrix, results.manifest.classes),
        "reliability": report_plots.plot_reliability(bins),
    }
    records = history.extractor_history(results.extractor.fitted_on)
    if records:
        plots["learning"] = history.plot_learning_curves(records)
    return {name: report_plots.to_data_url(figure) for name, figure in plots.items()}


def _mistakes(results: ClassifierResults, predictions: LabelledPredictions) -> list[dict[str, Any]]:
    classes, images = results.manifest.classes, predictions.split.images
    mistakes = confusion.most_confident_mistakes(predictions.probabilities, predictions.split.labels, _MAX_MISTAKES)
    return [
        {
            "thumbnail": report_plots.thumbnail(images[mistake.image]),
            "file": path_text(images[mistake.image].name),
            "true_class": classes[mistake.true_class],
            "predicted_class": classes[mistake.predicted_class],
            "probability": mistake.probability,
        }
        for mistake in mistakes
    ]
