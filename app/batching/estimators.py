"""Estimate when a new item will have its result, and learn how far off these estimates are."""

from __future__ import annotations

import math

from app.batching.run_time import RunTimeModel

# The constants of this module are judgements: the longer an estimate remembers, the steadier it is, and the later it
# follows a change of load.

_EWMA_WEIGHT = 0.1
"""Weight of the newest observation: a mean over about the last ten."""

_ERROR_WEIGHT, _DEVIATION_WEIGHT, _DEVIATIONS = 1 / 64, 1 / 32, 2.0
"""RFC 6298 uses 1/8, 1/4 and 4. Here the mean covers some 60 results, since hundreds may arrive in a second, and fewer
deviations are added, since a wrongly rejected request costs more than a late one."""

_REJECTION_WEIGHT = 1 / 512
"""In overload there are several rejections for each result, which must not outweigh it."""


class EWMA:
    """Exponentially weighted moving average."""

    def __init__(self) -> None:
        self.value: float | None = None

    def observe(self, value: float) -> None:
        """Take an observation into account."""
        self.value = value if self.value is None else self.value + _EWMA_WEIGHT * (value - self.value)


class EstimateError:
    """How much later than estimated results arrive: mean and deviation, as in the timer of TCP (RFC 6298)."""

    def __init__(self) -> None:
        self._mean_s = self._deviation_s = 0.0

    @property
    def margin_s(self) -> float:
        """Seconds to add to an estimate so that most results arrive in time."""
        return max(0.0, self._mean_s + _DEVIATIONS * self._deviation_s)

    def observe_rejection(self) -> None:
        """Take into account a request that only the margin rejected: no result will correct the margin."""
        self._mean_s *= 1 - _REJECTION_WEIGHT
        self._deviation_s *= 1 - _REJECTION_WEIGHT

    def observe(self, late_s: float) -> None:
        """Take into account a result that arrived `late_s` after its estimate; negative if it was early."""
        difference_s = late_s - self._mean_s
        self._mean_s += _ERROR_WEIGHT * difference_s
        self._deviation_s += _DEVIATION_WEIGHT * (abs(difference_s) - self._deviation_s)


class WaitEstimator:
    """Estimates the time until a new item has its result, and learns how far off the estimates are."""

    def __init__(self, run_time: RunTimeModel, *, workers: int, runs_concurrently: bool) -> None:
        """Create the estimator; `runs_concurrently` is True if full batches share the cores."""
        self._run_time, self._workers, self._runs_concurrently = run_time, workers, runs_concurrently
        self._lead_s, self._error = EWMA(), EstimateError()

    @property
    def margin_s(self) -> float:
        """Seconds to add to an estimate that a deadline depends on."""
        return self._error.margin_s

    def observe_lead(self, lead_s: float) -> None:
        """Take into account the time from a reservation until the first of its items was prepared."""
        self._lead_s.observe(lead_s)

    def observe_rejection(self) -> None:
        """Take into account a request that was rejected because of the margin alone."""
        self._error.observe_rejection()

    def observe_error(self, late_s: float) -> None:
        """Take into account how much later than estimated a result arrived."""
        self._error.observe(late_s)

    def estimate_s(self, items: int, target_size: int, until_free_s: float) -> float:
        """Return the expected seconds until the last of the waiting items has its result.

        Args:
            items: number of waiting items, the new ones included.
            target_size: size of a full batch.
            until_free_s: seconds until the next batch can begin.
        """
        full_batches, last_index = divmod(items - 1, target_size)
        last_size = last_index + 1
        last_s = self._run_time.predict_s(last_size, concurrent=self._runs_concurrently and last_size == target_size)
        full_s = self._run_time.predict_s(target_size, concurrent=self._runs_concurrently)
        ahead_s = math.ceil(full_batches / self._workers) * full_s
        return until_free_s + ahead_s + last_s + (self._lead_s.value or 0.0)
