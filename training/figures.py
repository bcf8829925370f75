"""Metrics as a table in the terminal."""

from __future__ import annotations

from collections.abc import Mapping

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
