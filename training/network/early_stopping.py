"""Early stopping: which pass of a fit was best, and whether the fit should end.

Both follow from the history alone, so a fit that resumes from a checkpoint decides as an uninterrupted one does.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from training.network.history import HistoryRecord
from training.recipes.network import EarlyStopping


def best_record(records: Sequence[HistoryRecord], stop: EarlyStopping) -> HistoryRecord | None:
    """Return the record of the best pass, the first of equals; None before the first pass has ended."""
    return max(_measured_passes(records), key=lambda record: _score(record, stop), default=None)


def should_stop(records: Sequence[HistoryRecord], stop: EarlyStopping) -> bool:
    """Return whether the last `patience` passes were no better than the best one before them."""
    passes, best = _measured_passes(records), best_record(records, stop)
    return best is not None and len(passes) - 1 - passes.index(best) >= stop.patience


def _measured_passes(records: Sequence[HistoryRecord]) -> list[HistoryRecord]:
    """Records with held-out metrics, without the one from before the first step."""
    return [record for record in records if record.holdout and record.step]


def _score(record: HistoryRecord, stop: EarlyStopping) -> float:
    """Mean of the measure over all tops, with the sign that makes larger better."""
    sign = -1 if stop.measure == "log_loss" else 1
    return sign * fmean(getattr(metrics, stop.measure) for metrics in (record.holdout or {}).values())
