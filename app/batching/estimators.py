"""Estimates, learned from the batches that ran: how long a batch takes, and when a new item will have its result."""

from __future__ import annotations

import math
from collections.abc import Iterable

# The constants of this module are judgements: the longer an estimate remembers, the steadier it is, and the later it
# follows a change of load.

_EWMA_WEIGHT = 0.1
"""Weight of the newest observation: a mean over about the last ten."""

_LATENCY_DECAY = 0.95
"""Factor by which each batch reduces the weight of the earlier ones: 35 batches ago counts a sixth."""

_ERROR_WEIGHT, _DEVIATION_WEIGHT, _DEVIATIONS = 1 / 64, 1 / 32, 2.0
"""RFC 6298 uses 1/8, 1/4 and 4. Here the mean covers some 60 results, since hundreds may arrive in a second, and fewer
deviations are added, since a wrongly rejected request costs more than a late one."""


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

    def observe(self, late_s: float) -> None:
        """Take into account a result that arrived `late_s` after its estimate; negative if it was early."""
        difference_s = late_s - self._mean_s
        self._mean_s += _ERROR_WEIGHT * difference_s
        self._deviation_s += _DEVIATION_WEIGHT * (abs(difference_s) - self._deviation_s)


class BatchLatencyModel:
    """Predicts the seconds of a batch of n items as a + b n, by least squares, as the dispatcher of BentoML does."""

    def __init__(self) -> None:
        self._weight = self._n = self._nn = self._t = self._nt = 0.0

    @property
    def is_known(self) -> bool:
        """True once a batch has been observed."""
        return self._weight > 0

    def observe(self, size: int, seconds: float) -> None:
        """Take into account a batch that ran."""
        sums = (self._weight, self._n, self._nn, self._t, self._nt)
        new = (1.0, size, size * size, seconds, size * seconds)
        self._weight, self._n, self._nn, self._t, self._nt = (
            _LATENCY_DECAY * total + value for total, value in zip(sums, new, strict=True)
        )

    def predict_s(self, size: int) -> float:
        """Return the expected seconds of a batch; 0 for an empty one, and before the first observation."""
        if not size or not self.is_known:
            return 0.0
        base_s, item_s = self._fit()
        return base_s + item_s * size

    def _fit(self) -> tuple[float, float]:
        """Return the base and the slope of the line, neither of them negative."""
        variance = self._weight * self._nn - self._n**2
        if variance < 1e-9 * self._weight * self._nn:  # all batches had the same size
            return 0.0, self._t / self._n
        slope = (self._weight * self._nt - self._n * self._t) / variance
        base = (self._t - slope * self._n) / self._weight
        if slope < 0:
            return self._t / self._weight, 0.0
        if base < 0:
            return 0.0, self._nt / self._nn
        return base, slope


class RunTimeModel:
    """Predicts the run time of a batch, exclusive on all cores or concurrent on a share of them."""

    def __init__(self, workers: int) -> None:
        """Create the model of batches of which up to `workers` run concurrently."""
        self._workers = workers
        self._exclusive, self._concurrent = BatchLatencyModel(), BatchLatencyModel()

    def observe(self, size: int, seconds: float, *, concurrent: bool) -> None:
        """Take into account a batch that ran."""
        (self._concurrent if concurrent else self._exclusive).observe(size, seconds)

    def predict_s(self, size: int, *, concurrent: bool) -> float:
        """Return the expected seconds; a mode that has not run yet is derived from the other by the worker count."""
        if concurrent:
            if self._concurrent.is_known:
                return self._concurrent.predict_s(size)
            return self._workers * self._exclusive.predict_s(size)
        if self._exclusive.is_known:
            return self._exclusive.predict_s(size)
        return self._concurrent.predict_s(size) / self._workers

    def first_within(self, sizes: Iterable[int], within_s: float, *, concurrent: bool) -> int:
        """Return the first of the sizes that is expected to run within `within_s`, or 0."""
        return next((size for size in sizes if self.predict_s(size, concurrent=concurrent) <= within_s), 0)


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
