"""The best pass is kept, and a fit ends when no pass has been better for some."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.network.early_stopping import EarlyStopping, best, should_stop
from training.network.history import Figures, HistoryRecord

_LOSS = EarlyStopping(measure="log_loss", patience=2)
_ACCURACY = EarlyStopping(measure="accuracy", patience=2)


def history(losses: Sequence[float], accuracies: Sequence[float] | None = None) -> list[HistoryRecord]:
    """A record for each pass of 10 steps, the first of them before the fit; one more within each pass."""
    passes = [
        HistoryRecord(
            step=10 * number,
            passes=number,
            learning_rate=0.1,
            holdout={"top": Figures(images=10, accuracy=accuracy, log_loss=loss)},
        )
        for number, (loss, accuracy) in enumerate(zip(losses, accuracies or [0.5] * len(losses), strict=True))
    ]
    between = [
        HistoryRecord(step=10 * number + 5, passes=number + 0.5, learning_rate=0.1) for number in range(len(losses))
    ]
    return sorted([*passes, *between], key=lambda record: record.step)


@pytest.mark.parametrize(
    ("losses", "kept", "over"),
    [
        ([0.1], None, False),
        ([0.1, 0.9], 1, False),
        ([0.1, 0.9, 0.8, 0.85], 2, False),
        ([0.1, 0.9, 0.8, 0.85, 0.81], 2, True),
        ([0.1, 0.9, 0.8, 0.8, 0.8], 2, True),
        ([0.1, 0.9, 0.95, 0.7, 0.71], 3, False),
    ],
)
def test_patience_counts_passes_that_are_no_better(losses: list[float], kept: int | None, over: bool) -> None:
    records = history(losses)
    found = best(records, _LOSS)
    assert (found and found.passes) == kept
    assert should_stop(records, _LOSS) == over


def test_of_accuracy_more_is_better() -> None:
    records = history([0.9, 0.8, 0.7, 0.6], [0.9, 0.5, 0.8, 0.7])
    found = best(records, _ACCURACY)
    assert found
    assert found.passes == 2
    assert best(records, _LOSS) is not found


@settings(max_examples=30)
@given(st.lists(st.floats(0, 5), min_size=1, max_size=12), st.integers(1, 5))
def test_a_fit_ends_as_soon_as_its_history_says_so(losses: list[float], patience: int) -> None:
    """As Keras's EarlyStopping counts."""
    stop = EarlyStopping(measure="log_loss", patience=patience)
    waited, least = 0, float("inf")
    for number, loss in enumerate(losses, 1):
        waited, least = (0, loss) if loss < least else (waited + 1, least)
        assert should_stop(history([0.0, *losses[:number]]), stop) == (waited >= patience)
        if waited >= patience:
            break
