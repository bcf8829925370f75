"""Tables of metrics and trials for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from models.manifests import ClassifierManifest, Metrics
from training.set_notes import set_notes

_HEADINGS = ("set", "images", "accuracy", "95 %\ninterval", "baseline", "top 5", "log\nloss", "calibration\nerror")


def metrics_table(measured: Mapping[str, Metrics]) -> Table:
    """Return a table with one row per labelled set; `baseline` always predicts the most frequent class."""
    table = Table(box=SIMPLE_HEAD, padding=0)  # narrow: it has to fit into 80 columns
    for heading in _HEADINGS:
        table.add_column(heading, no_wrap=True, justify="left" if heading == "set" else "right")
    for name, metrics in measured.items():
        low, high = metrics.accuracy_interval
        table.add_row(
            escape(name),
            f"{metrics.images:,}",
            f"{metrics.accuracy:.4f}",
            f"{low:.3f}–{high:.3f}",
            "" if metrics.most_frequent is None else f"{metrics.most_frequent:.4f}",
            f"{metrics.top5_accuracy:.4f}",
            f"{metrics.log_loss:.4f}",
            f"{metrics.expected_calibration_error:.4f}",
        )
    return table


def set_lines(manifest: ClassifierManifest) -> list[str]:
    """Return one line for each reservation about the metrics of a classifier."""
    return [f"{name}: {note}" for name in manifest.metrics for note in set_notes(manifest.sets.get(name))]


def trials_table(tuning: Mapping[str, Any]) -> Table:
    """Return a table with one row per trial in a manifest's record; the chosen trial is marked."""
    table = Table("trial", "parameters", "log loss", "accuracy", title="Cross-validated", title_justify="left")
    for number, trial in enumerate(tuning["trials"]):
        parameters = ", ".join(f"{name} {_short(value)}" for name, value in trial["parameters"].items())
        mark = " (chosen)" if number == tuning["best"] else ""
        table.add_row(f"{number}{mark}", parameters, f"{trial['log_loss']:.4f}", f"{trial['accuracy']:.4f}")
    return table


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
