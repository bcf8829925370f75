"""Metrics as a table in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from models.manifests import Metrics


def metrics_table(measured: Mapping[str, Metrics]) -> Table:
    """One row for each set; `baseline` is the accuracy of naming the most frequent class always."""
    table = Table("set", "images", "accuracy", "95 % interval", "baseline", "top 5", "log loss", "calibration error")
    for name, figures in measured.items():
        low, high = figures.accuracy_interval
        table.add_row(
            name,
            f"{figures.images:,}",
            f"{figures.accuracy:.4f}",
            f"{low:.4f} to {high:.4f}",
            "" if figures.most_frequent is None else f"{figures.most_frequent:.4f}",
            f"{figures.top5_accuracy:.4f}",
            f"{figures.log_loss:.4f}",
            f"{figures.expected_calibration_error:.4f}",
        )
    return table


def trials_table(tuning: Mapping[str, Any]) -> Table:
    """One row for each set of parameters, as a manifest records them, the best of them marked."""
    table = Table("trial", "parameters", "log loss", "accuracy", title="Cross-validated", title_justify="left")
    for number, trial in enumerate(tuning["trials"]):
        parameters = ", ".join(f"{name} {_short(value)}" for name, value in trial["parameters"].items())
        mark = " (best)" if number == tuning["best"] else ""
        table.add_row(f"{number}{mark}", parameters, f"{trial['log_loss']:.4f}", f"{trial['accuracy']:.4f}")
    return table


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
