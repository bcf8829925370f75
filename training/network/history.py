"""History of a fit: one line of JSON per interval of steps, and a plot of the learning curves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pydantic import BaseModel, ConfigDict, ValidationError

HISTORY_FILE = "history.jsonl"
CURVE_FILE = "learning_curve.png"
#: Key in an extractor's `fitted_on` of the records that have held-out metrics.
HISTORY_KEY = "history"
_PLOT_INTERVAL_S = 10.0
"""Shortest time between two plots of a fit, because a plot takes as long as some passes of a small network."""


class TopMetrics(BaseModel):
    """Metrics of one top on images that are not fitted on, without dropout, augmentation or label smoothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: int
    accuracy: float
    log_loss: float


class TeacherMetrics(BaseModel):
    """How closely a network repeats its teacher on images that are not fitted on.

    Attributes:
        agreement: share of the images for which both have the same most probable class.
        divergence: mean Kullback-Leibler divergence of the network's probabilities from the teacher's, nats.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: int
    agreement: float
    divergence: float


class HistoryRecord(BaseModel):
    """The steps since the previous record and, at the end of a pass, metrics on the held-out or validation images.

    Attributes:
        step: steps done so far.
        passes: the same in passes (epochs) over the dataset that needs most steps.
        learning_rate: of the next step.
        loss: mean over the interval for each top: cross-entropy with the recipe's label smoothing.
        teacher_loss: the same for each task with a teacher: divergence at the recipe's temperature, times its square.
        skipped_steps: number of steps of the interval whose gradients were not finite; None: no step.
        images_per_second: throughput of the interval over all datasets.
        holdout: metrics of each top.
        teacher: metrics of each task with a teacher.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int
    passes: float
    learning_rate: float
    loss: dict[str, float] = {}
    teacher_loss: dict[str, float] | None = None
    skipped_steps: int | None = None
    images_per_second: float | None = None
    holdout: dict[str, TopMetrics] | None = None
    teacher: dict[str, TeacherMetrics] | None = None

    @property
    def is_measured(self) -> bool:
        """True if the network was evaluated after this step."""
        return bool(self.holdout or self.teacher)


class History:
    """The records of a fit: in memory, in a file that only grows, and as a plot next to it."""

    def __init__(self, folder: Path, resumed_at: int | None) -> None:
        """Open a history.

        Args:
            folder: for the file and the plot.
            resumed_at: step of the checkpoint from which the fit resumes. Later records are dropped, because those
                steps are repeated. None starts a new history.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / HISTORY_FILE
        self._curve = folder / CURVE_FILE
        self._plotted_at = time.monotonic()
        self.records: list[HistoryRecord] = []
        if resumed_at is not None:
            self.records += [record for record in _read(self._path) if record.step <= resumed_at]
        self._write()

    def append(self, record: HistoryRecord) -> None:
        """Add a record to the file; update the plot if the record has held-out metrics and the plot is old."""
        self.records.append(record)
        with self._path.open("a") as file:
            file.write(_json_line(record))
        if record.is_measured and time.monotonic() - self._plotted_at >= _PLOT_INTERVAL_S:
            self.plot()

    def replace_last_metrics(
        self, holdout: dict[str, TopMetrics] | None, teacher: dict[str, TeacherMetrics] | None
    ) -> None:
        """Replace the held-out metrics of the last record, after the network was changed without a step."""
        self.records[-1] = self.records[-1].model_copy(update={"holdout": holdout, "teacher": teacher})
        self._write()

    def plot(self) -> None:
        """Plot the learning curves of all records."""
        self._plotted_at = time.monotonic()
        plot_learning_curves(self.records).savefig(self._curve, dpi=120, format="png")

    def _write(self) -> None:
        staging = self._path.with_suffix(".writing")
        staging.write_text("".join(map(_json_line, self.records)))
        staging.rename(self._path)


def _json_line(record: HistoryRecord) -> str:
    return record.model_dump_json(exclude_none=True) + "\n"


def _read(path: Path) -> Iterator[HistoryRecord]:
    """Yield the records of all complete lines; a killed run may have left half a line at the end."""
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            yield HistoryRecord.model_validate_json(line)
        except ValidationError:
            return


def extractor_history(fitted_on: Mapping[str, Any]) -> list[HistoryRecord]:
    """Return the records in an extractor's manifest; empty if nothing was measured during its fit."""
    return [HistoryRecord.model_validate(record) for record in fitted_on.get(HISTORY_KEY, ())]


def plot_learning_curves(records: Sequence[HistoryRecord]) -> Figure:
    """Plot losses and held-out accuracies over the passes."""
    fitted = [record for record in records if _losses(record)]
    measured = [record for record in records if record.is_measured]
    figure = Figure(figsize=(9, 4), layout="constrained")
    losses, accuracies = figure.subplots(1, 2)
    _plot_tops(losses, fitted, _losses)
    losses.set(title="Loss on the fitted images", xlabel="passes", ylabel="cross-entropy, smoothed labels")
    _plot_tops(accuracies, measured, _accuracies, "o-")
    accuracies.set(title="Accuracy on held-out images", xlabel="passes", ylabel="accuracy")
    return figure


def _accuracies(record: HistoryRecord) -> dict[str, float]:
    return {top: metrics.accuracy for top, metrics in (record.holdout or {}).items()} | {
        f"{top}, agreement with the teacher": metrics.agreement for top, metrics in (record.teacher or {}).items()
    }


def _losses(record: HistoryRecord) -> dict[str, float]:
    return record.loss | {f"{top}, teacher": loss for top, loss in (record.teacher_loss or {}).items()}


def _plot_tops(
    axes: Axes, records: Sequence[HistoryRecord], values: Callable[[HistoryRecord], dict[str, float]], style: str = "-"
) -> None:
    passes = [record.passes for record in records]
    for top in values(records[0]) if records else {}:
        axes.plot(passes, [values(record)[top] for record in records], style, label=top)
    axes.grid(alpha=0.3)
    if records:
        axes.legend(loc="center right")  # "best" is slow and warns about it on a busy machine
