"""Early stopping: the best pass of a fit is kept, and the fit ends when no pass has been better for some.

What is best and whether the fit is over follow from its history alone, so a fit that goes on after a kill decides
as it would have.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from training.network.history import HistoryRecord


class EarlyStopping(BaseModel):
    """What makes a pass better than another, and how many that are not end the fit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    measure: Literal["log_loss", "accuracy"]
    patience: int = Field(ge=1, description="passes in a row that are no better than the best before them")


def best(records: Sequence[HistoryRecord], stop: EarlyStopping) -> HistoryRecord | None:
    """The record of the best pass, the first of equals; None before the first pass has ended."""
    return max(_measured(records), key=lambda record: _worth(record, stop), default=None)


def should_stop(records: Sequence[HistoryRecord], stop: EarlyStopping) -> bool:
    """Whether the last `patience` passes were no better than the best before them."""
    passes, kept = _measured(records), best(records, stop)
    return kept is not None and len(passes) - 1 - passes.index(kept) >= stop.patience


def _measured(records: Sequence[HistoryRecord]) -> list[HistoryRecord]:
    """What was measured before the first step says nothing of the fit."""
    return [record for record in records if record.holdout and record.step]


def _worth(record: HistoryRecord, stop: EarlyStopping) -> float:
    """Over all tops; more is better."""
    sign = -1 if stop.measure == "log_loss" else 1
    return sign * fmean(getattr(figures, stop.measure) for figures in (record.holdout or {}).values())
