"""A comparison of heads as a table, a plot and JSON."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.markup import escape
from rich.table import Table

from models.console.encoding import path_text
from models.manifests import Metrics
from training.heads.comparison import HeadComparison

_COLOURS = {"cross-validated": "#4269d0", "test set": "#efb118"}


def write_comparison(comparison: HeadComparison, folder: Path) -> list[Path]:
    """Write comparison.json and comparison.png into a folder, which is created if it is missing; return both paths."""
    folder.mkdir(parents=True, exist_ok=True)
    text = comparison.model_copy(update={"dataset": path_text(comparison.dataset)}).model_dump_json(indent=2)
    json_file, plot_file = folder / "comparison.json", folder / "comparison.png"
    json_file.write_text(text + "\n", encoding="utf-8")
    plot_comparison(comparison).savefig(plot_file)
    return [json_file, plot_file]


def comparison_table(comparison: HeadComparison) -> Table:
    """Return a table with one row per head: accuracies with 95 % intervals, log losses, times."""
    table = Table("head", title=escape(_title(comparison)), title_justify="left")
    for heading in ("cross-validated", "log loss", "test set", "log loss", "calibration error", "fit", "per image"):
        table.add_column(heading, justify="right")
    for head in comparison.heads:
        table.add_row(
            head.kind,
            _accuracy(head.cross_validated),
            f"{head.cross_validated.log_loss:.4f}",
            *_test_cells(head.test),
            f"{head.fit_seconds:,.1f} s",
            f"{head.answer_ms:.3f} ms",
        )
    return table


def plot_comparison(comparison: HeadComparison) -> Figure:
    """Plot the accuracies with their intervals, and the time that each fit took."""
    figure = Figure(figsize=(10, 1.6 + 0.6 * len(comparison.heads)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(_title(comparison), fontweight="bold", x=0.01, ha="left")
    accuracies, seconds = figure.subplots(1, 2, sharey=True, width_ratios=[2, 1])
    rows = range(len(comparison.heads))
    measured: dict[str, list[Metrics | None]] = {
        "cross-validated": [head.cross_validated for head in comparison.heads],
        "test set": [head.test for head in comparison.heads],
    }
    for name, shift in (("cross-validated", -0.12), ("test set", 0.12)):
        points = [(row + shift, metrics) for row, metrics in zip(rows, measured[name], strict=True) if metrics]
        if points:
            accuracies.errorbar(
                [metrics.accuracy for _, metrics in points],
                [height for height, _ in points],
                xerr=np.transpose([_error_bar(metrics) for _, metrics in points]),
                fmt="o",
                capsize=3,
                label=name,
                color=_COLOURS[name],
            )
    accuracies.set_yticks(rows, [head.kind for head in comparison.heads])
    accuracies.invert_yaxis()
    accuracies.set_xlabel("accuracy, 95 % interval")
    accuracies.legend(frameon=False)
    seconds.barh(rows, [head.fit_seconds for head in comparison.heads], color="#a463f2")
    seconds.set_xscale("log")
    seconds.set_xlabel("one fit, seconds")
    if comparison.optimistic:
        figure.supxlabel(comparison.optimistic, fontsize=8, x=0.01, ha="left")
    return figure


def _title(comparison: HeadComparison) -> str:
    dataset = path_text(comparison.dataset)
    return f"Heads on {comparison.output} of {comparison.extractor}: {dataset}, {comparison.folds} folds"


def _error_bar(metrics: Metrics) -> tuple[float, float]:
    """Return the lengths of the error bar below and above the accuracy."""
    low, high = metrics.accuracy_interval
    return metrics.accuracy - low, high - metrics.accuracy


def _accuracy(metrics: Metrics) -> str:
    low, high = metrics.accuracy_interval
    return f"{metrics.accuracy:.4f} ({low:.4f} to {high:.4f})"


def _test_cells(metrics: Metrics | None) -> tuple[str, str, str]:
    if metrics is None:
        return ("", "", "")
    return (_accuracy(metrics), f"{metrics.log_loss:.4f}", f"{metrics.expected_calibration_error:.4f}")
