"""How a fit went: a line of JSON for each stretch of steps, and a picture of them all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pydantic import BaseModel, ConfigDict, ValidationError

HISTORY_FILE = "history.jsonl"
CURVE_FILE = "learning_curve.png"
#: In an extractor's `fitted_on`: the records at which held-out images were measured.
FITTED_HISTORY = "history"


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Figures(_Data):
    """What a top is worth on images that are not fitted on, without dropout, augmentation or smoothing."""

    images: int
    accuracy: float
    log_loss: float


class HistoryRecord(_Data):
    """The steps since the record before, and where a pass ended, the held-out or the validation images.

    Attributes:
        step: steps done so far.
        passes: the same, in passes over the dataset that needs most steps.
        learning_rate: of the next step.
        loss: mean over the stretch for each top; cross-entropy with the recipe's label smoothing.
        images_per_second: fitted in this stretch, of all datasets together.
        holdout: figures for each top.
    """

    step: int
    passes: float
    learning_rate: float
    loss: dict[str, float] = {}
    images_per_second: float | None = None
    holdout: dict[str, Figures] | None = None


class History:
    """The records of a fit: in memory, in a file that only grows, and as a picture beside it."""

    def __init__(self, folder: Path, resumed_at: int | None) -> None:
        """Open a history.

        Args:
            folder: where its file lies.
            resumed_at: step of the checkpoint that the fit goes on from: records after it are cut off, since those
                steps are taken again; None for a fit that begins, and a history that begins with it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / HISTORY_FILE
        self._curve = folder / CURVE_FILE
        self.records: list[HistoryRecord] = []
        if resumed_at is not None:
            self.records += [record for record in _read(self._path) if record.step <= resumed_at]
        self._write()

    def append(self, record: HistoryRecord) -> None:
        """Add a record; it is in the file when this returns, and in the picture where it has held-out figures."""
        self.records.append(record)
        with self._path.open("a") as file:
            file.write(_line(record))
        if record.holdout:
            self._draw()

    def correct(self, holdout: dict[str, Figures]) -> None:
        """Put other held-out figures into the last record: the network was changed without a step."""
        self.records[-1] = self.records[-1].model_copy(update={"holdout": holdout})
        self._write()
        self._draw()

    def _draw(self) -> None:
        curves(self.records).savefig(self._curve, dpi=120, format="png")

    def _write(self) -> None:
        staging = self._path.with_suffix(".writing")
        staging.write_text("".join(map(_line, self.records)))
        staging.rename(self._path)


def _line(record: HistoryRecord) -> str:
    return record.model_dump_json(exclude_none=True) + "\n"


def _read(path: Path) -> Iterator[HistoryRecord]:
    """All whole lines; a killed run may have left half of one at the end."""
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            yield HistoryRecord.model_validate_json(line)
        except ValidationError:
            return


def of_extractor(fitted_on: Mapping[str, Any]) -> list[HistoryRecord]:
    """How an extractor was fitted, as its manifest tells; empty where nothing was measured on the way."""
    return [HistoryRecord.model_validate(record) for record in fitted_on.get(FITTED_HISTORY, ())]


def curves(records: Sequence[HistoryRecord]) -> Figure:
    """Losses and held-out accuracies over the passes."""
    fitted = [record for record in records if record.loss]
    measured = [record for record in records if record.holdout]
    figure = Figure(figsize=(9, 4), layout="constrained")
    losses, accuracies = figure.subplots(1, 2)
    _plot(losses, fitted, lambda record: record.loss)
    losses.set(title="Loss on the fitted images", xlabel="passes", ylabel="cross-entropy, smoothed labels")
    _plot(accuracies, measured, _accuracies, "o-")
    accuracies.set(title="Accuracy on held-out images", xlabel="passes", ylabel="share named rightly")
    return figure


def _accuracies(record: HistoryRecord) -> dict[str, float]:
    return {top: figures.accuracy for top, figures in (record.holdout or {}).items()}


def _plot(
    axes: Axes, records: Sequence[HistoryRecord], values: Callable[[HistoryRecord], dict[str, float]], style: str = "-"
) -> None:
    passes = [record.passes for record in records]
    for top in values(records[0]) if records else {}:
        axes.plot(passes, [values(record)[top] for record in records], style, label=top)
    axes.grid(alpha=0.3)
    if records:
        axes.legend(loc="center right")  # "best" takes long, and warns of it, on a busy machine
