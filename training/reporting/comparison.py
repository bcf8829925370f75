"""A comparison of heads as a table, a picture and JSON."""

from __future__ import annotations

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.table import Table

from models.manifests import Metrics
from training.heads.comparison import Comparison

_COLOURS = {"cross-validated": "#4269d0", "test set": "#efb118"}


def write(comparison: Comparison, folder: Path) -> list[Path]:
    """Write comparison.json and comparison.png into a folder, which is made; returns both."""
    folder.mkdir(parents=True, exist_ok=True)
    figures, picture = folder / "comparison.json", folder / "comparison.png"
    figures.write_text(comparison.model_dump_json(indent=2) + "\n", encoding="utf-8")
    draw(comparison).savefig(picture)
    return [figures, picture]


def table(comparison: Comparison) -> Table:
    """A row for each head: accuracies with their 95 % intervals, log losses, times."""
    made = Table("head", title=_title(comparison), title_justify="left")
    for heading in ("cross-validated", "log loss", "test set", "log loss", "calibration error", "fit", "an image"):
        made.add_column(heading, justify="right")
    for head in comparison.heads:
        made.add_row(
            head.kind,
            _accuracy(head.cross_validated),
            f"{head.cross_validated.log_loss:.4f}",
            *_tested(head.test),
            f"{head.fit_seconds:,.1f} s",
            f"{head.answer_ms:.3f} ms",
        )
    return made


def draw(comparison: Comparison) -> Figure:
    """Accuracies with their intervals, and how long each head took to fit."""
    figure = Figure(figsize=(10, 1.6 + 0.6 * len(comparison.heads)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(_title(comparison), fontweight="bold", x=0.01, ha="left")
    accuracies, seconds = figure.subplots(1, 2, sharey=True, width_ratios=[2, 1])
    places = range(len(comparison.heads))
    measured: dict[str, list[Metrics | None]] = {
        "cross-validated": [head.cross_validated for head in comparison.heads],
        "test set": [head.test for head in comparison.heads],
    }
    for name, shift in (("cross-validated", -0.12), ("test set", 0.12)):
        known = [(place + shift, found) for place, found in zip(places, measured[name], strict=True) if found]
        if known:
            shares = [found.accuracy for _, found in known]
            below = [found.accuracy - found.accuracy_interval[0] for _, found in known]
            above = [found.accuracy_interval[1] - found.accuracy for _, found in known]
            at = [place for place, _ in known]
            accuracies.errorbar(shares, at, xerr=[below, above], fmt="o", capsize=3, label=name, color=_COLOURS[name])
    accuracies.set_yticks(places, [head.kind for head in comparison.heads])
    accuracies.invert_yaxis()
    accuracies.set_xlabel("accuracy, 95 % interval")
    accuracies.legend(frameon=False)
    seconds.barh(places, [head.fit_seconds for head in comparison.heads], color="#a463f2")
    seconds.set_xscale("log")
    seconds.set_xlabel("one fit, seconds")
    if comparison.optimistic:
        figure.supxlabel(comparison.optimistic, fontsize=8, x=0.01, ha="left")
    return figure


def _title(comparison: Comparison) -> str:
    return f"Heads on {comparison.output} of {comparison.extractor}: {comparison.dataset}, {comparison.folds} folds"


def _accuracy(found: Metrics) -> str:
    low, high = found.accuracy_interval
    return f"{found.accuracy:.4f} ({low:.4f} to {high:.4f})"


def _tested(found: Metrics | None) -> tuple[str, str, str]:
    if found is None:
        return ("", "", "")
    return (_accuracy(found), f"{found.log_loss:.4f}", f"{found.expected_calibration_error:.4f}")
