"""Predictions as people or programs want to read them."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable
from enum import StrEnum

from rich.console import Console
from rich.table import Table

from models.remote import Prediction

Answers = Iterable[tuple[str, list[Prediction]]]

_BAR = 30


class Form(StrEnum):
    """How answers are written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    LABELS = "labels"


def write(answers: Answers, form: Form) -> None:
    """Write answers to standard output, each as it comes."""
    _WRITERS[form](answers)


def _table(answers: Answers) -> None:
    out = Console()
    for name, predictions in answers:
        table = Table(title=name, title_justify="left", show_header=False, box=None)
        for label, _, score in predictions:
            table.add_row(label, f"{score:6.1%}", "█" * round(score * _BAR))
        out.print(table)


def _json(answers: Answers) -> None:
    for name, predictions in answers:
        items = [{"label": label, "index": index, "score": score} for label, index, score in predictions]
        sys.stdout.write(json.dumps({"file": name, "predictions": items}, ensure_ascii=False) + "\n")


def _csv(answers: Answers) -> None:
    rows = csv.writer(sys.stdout)
    rows.writerow(["file", "label", "score"])
    for name, predictions in answers:
        rows.writerows([name, label, f"{score:.6f}"] for label, _, score in predictions)


def _labels(answers: Answers) -> None:
    rows = csv.writer(sys.stdout)
    rows.writerow(["Filename", "Predictions"])
    for name, predictions in answers:
        rows.writerow([name, predictions[0][0] if predictions else ""])


_WRITERS: dict[Form, Callable[[Answers], None]] = {
    Form.TABLE: _table,
    Form.JSON: _json,
    Form.CSV: _csv,
    Form.LABELS: _labels,
}
