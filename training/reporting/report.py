"""The report of a classifier: report.html, one file with all its pictures in it, and metrics.json with every figure.

It is written for people who do not know the trade: sentences first, then figures and what they mean, then pictures.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from models.manifests import Metrics
from training.evaluation import confusion as breakdown
from training.evaluation import metrics
from training.evaluation.results import ClassifierResults, Predictions
from training.network import history
from training.reporting import report_plots as report_pictures

PAGE, FIGURES = "report.html", "metrics.json"

_MISTAKES = 24
_CONFUSIONS = 10

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    autoescape=True,
)
_TEMPLATES.filters["percent"] = lambda share: "" if share is None else f"{100 * share:.1f} %"


def write(findings: ClassifierResults, folder: Path) -> Path:
    """Write both files into a folder, which is made; what lay there is replaced. Returns the page."""
    folder.mkdir(parents=True, exist_ok=True)
    name, answers = findings.foremost
    figures = measured(findings)
    (folder / FIGURES).write_text(json.dumps(figures, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    page = _TEMPLATES.get_template(PAGE).render(
        figures=figures,
        manifest=findings.manifest,
        extractor=findings.extractor,
        set=name,
        most_frequent=findings.manifest.classes[int(np.bincount(answers.split.labels).argmax())],
        right=int((answers.probabilities.argmax(axis=1) == answers.split.labels).sum()),
        certainty=float(answers.probabilities.max(axis=1).mean()),
        mistakes=_mistakes(findings, answers),
        pictures=_pictures(findings, figures),
        left_out=findings.left_out,
    )
    (folder / PAGE).write_text(page, encoding="utf-8")
    return folder / PAGE


def measured(findings: ClassifierResults) -> dict[str, Any]:
    """Every figure of the foremost set, and the accuracies of the others, as metrics.json holds them."""
    manifest, (name, answers) = findings.manifest, findings.foremost
    probabilities, labels = answers.probabilities, answers.split.labels
    confusion = breakdown.confusion_matrix(probabilities, labels)
    sets = manifest.metrics | {
        key: metrics.measure(each.probabilities, each.split.labels, manifest.classes)
        for key, each in findings.answers.items()
    }
    return {
        "model": manifest.name,
        "version": manifest.version,
        "extractor": f"{findings.extractor.name}@{findings.extractor.version}",
        "set": name,
        **_plain(sets[name]),
        "classes": [each._asdict() for each in breakdown.by_class(confusion, manifest.classes)],
        "confusion_matrix": confusion.tolist(),
        "confusions": [each._asdict() for each in breakdown.confusions(confusion, manifest.classes, _CONFUSIONS)],
        "reliability": [each._asdict() for each in metrics.reliability(probabilities, labels)],
        "other_sets": {key: _plain(each) for key, each in sets.items() if key != name},
        "learning": [
            record.model_dump(mode="json", exclude_none=True)
            for record in history.of_extractor(findings.extractor.fitted_on)
        ],
    }


def _plain(found: Metrics) -> dict[str, Any]:
    return found.model_dump(mode="json", exclude={"accuracy_by_class"})


def _pictures(findings: ClassifierResults, figures: dict[str, Any]) -> dict[str, str]:
    _, answers = findings.foremost
    confusion = np.array(figures["confusion_matrix"])
    drawn = {
        "confusions": report_pictures.confusions(confusion, findings.manifest.classes),
        "reliability": report_pictures.reliability(metrics.reliability(answers.probabilities, answers.split.labels)),
    }
    records = history.of_extractor(findings.extractor.fitted_on)
    if records:
        drawn["learning"] = history.curves(records)
    return {name: report_pictures.inline(figure) for name, figure in drawn.items()}


def _mistakes(findings: ClassifierResults, answers: Predictions) -> list[dict[str, Any]]:
    classes, images = findings.manifest.classes, answers.split.paths
    return [
        {
            "picture": report_pictures.thumbnail(images[mistake.image]),
            "file": images[mistake.image].name,
            "right": classes[mistake.right],
            "answered": classes[mistake.answered],
            "probability": mistake.probability,
        }
        for mistake in breakdown.worst_mistakes(answers.probabilities, answers.split.labels, _MISTAKES)
    ]
