"""Early stopping: the best pass, and when a fit should stop."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.network.early_stopping import best_record, should_stop
from training.network.history import HistoryRecord, TopMetrics
from training.recipes.network import EarlyStopping

_LOSS = EarlyStopping(measure="log_loss", patience=2)
_ACCURACY = EarlyStopping(measure="accuracy", patience=2)


def history(losses: Sequence[float], accuracies: Sequence[float] | None = None) -> list[HistoryRecord]:
    """A record after each pass of 10 steps, the first one before the fit, and one in the middle of each pass."""
    passes = [
        HistoryRecord(
            step=10 * number,
            passes=number,
            learning_rate=0.1,
            holdout={"top": TopMetrics(images=10, accuracy=accuracy, log_loss=loss)},
        )
        for number, (loss, accuracy) in enumerate(zip(losses, accuracies or [0.5] * len(losses), strict=True))
    ]
    between = [
        HistoryRecord(step=10 * number + 5, passes=number + 0.5, learning_rate=0.1) for number in range(len(losses))
    ]
    return sorted([*passes, *between], key=lambda record: record.step)


@pytest.mark.parametrize(
    ("losses", "best_pass", "stops"),
    [
        ([0.1], None, False),
        ([0.1, 0.9], 1, False),
        ([0.1, 0.9, 0.8, 0.85], 2, False),
        ([0.1, 0.9, 0.8, 0.85, 0.81], 2, True),
        ([0.1, 0.9, 0.8, 0.8, 0.8], 2, True),
        ([0.1, 0.9, 0.95, 0.7, 0.71], 3, False),
    ],
)
def test_patience_counts_passes_without_improvement(losses: list[float], best_pass: int | None, stops: bool) -> None:
    records = history(losses)
    best = best_record(records, _LOSS)
    assert (best and best.passes) == best_pass
    assert should_stop(records, _LOSS) == stops


def test_higher_accuracy_is_better() -> None:
    records = history([0.9, 0.8, 0.7, 0.6], [0.9, 0.5, 0.8, 0.7])
    best = best_record(records, _ACCURACY)
    assert best
    assert best.passes == 2
    assert best_record(records, _LOSS) is not best


def test_mean_over_all_tops_counts() -> None:
    """Pass 1 has the best single top, pass 2 the least bad worst one, pass 3 the best mean."""
    losses = [(0.1, 1.4), (0.8, 0.8), (0.3, 0.9)]
    records = [
        HistoryRecord(
            step=10 * number,
            passes=number,
            learning_rate=0.1,
            holdout={
                top: TopMetrics(images=10, accuracy=1 - loss / 2, log_loss=loss)
                for top, loss in zip(("first", "second"), pair, strict=True)
            },
        )
        for number, pair in enumerate(losses, 1)
    ]
    for stop in (_LOSS, _ACCURACY):
        best = best_record(records, stop)
        assert best is not None
        assert best.passes == 3


@settings(max_examples=30)
@given(st.lists(st.floats(0, 5), min_size=1, max_size=12), st.integers(1, 5))
def test_should_stop_counts_like_keras(losses: list[float], patience: int) -> None:
    stop = EarlyStopping(measure="log_loss", patience=patience)
    waited, lowest = 0, float("inf")
    for number, loss in enumerate(losses, 1):
        waited, lowest = (0, loss) if loss < lowest else (waited + 1, lowest)
        assert should_stop(history([0.0, *losses[:number]]), stop) == (waited >= patience)
        if waited >= patience:
            break
