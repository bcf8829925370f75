"""Metrics as a table in the terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table

from models.manifests import Metrics


def metrics_table(measured: Mapping[str, Metrics]) -> Table:
    """One row for each set: images, accuracy with its 95 % interval, top 5, log loss, calibration error."""
    table = Table("set", "images", "accuracy", "95 % interval", "top 5", "log loss", "calibration error")
    for name, figures in measured.items():
        low, high = figures.accuracy_interval
        table.add_row(
            name,
            f"{figures.images:,}",
            f"{figures.accuracy:.4f}",
            f"{low:.4f} to {high:.4f}",
            f"{figures.top5_accuracy:.4f}",
            f"{figures.log_loss:.4f}",
            f"{figures.expected_calibration_error:.4f}",
        )
    return table
