"""Predict how long a batch runs, from the batches that ran.

    seconds = pace · (base + item · size) · concurrency

The line is what a batch takes alone, at the usual pace of this machine. The pace is that of the last seconds: other
processes, or a hot processor, slow down batches of all sizes alike. The concurrency is the factor for a batch that runs
beside others, on a share of the cores.

One model for all sizes, and for both ways to run, has no state without a way back: a batch of any size corrects the
pace, the pace fades when nothing runs, and the concurrency fades towards the number of workers while no concurrent
batch is observed. All corrections are made on logarithms, because pace and concurrency are factors.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable, Sequence

# The constants are judgements: the faster an estimate learns, the sooner it follows a change, and the less steady it
# is.

_PACE_WEIGHT = 0.2
_SIZE_WEIGHT = 0.05
_CONCURRENCY_WEIGHT = 0.05
_FADE_WEIGHT = 0.002
"""Step of the concurrency towards the number of workers with each batch that runs alone."""

_PACE_MEMORY_S = 4.0
"""Time after which the logarithm of the pace has faded to 1/e, unless new batches confirm it."""

_FASTER = 2.0
"""Factor on errors of batches that were faster than expected. Estimates that are too high make small batches, whose
times say little about large ones; estimates that are too low make large batches, and are soon corrected."""

_CONCURRENCY_MEMORY_S = 10.0

_MAX_ERROR = math.log(4)
"""An observation counts at most as four times the expected time or a fourth: a pause must not change the batches."""

_MAX_SIZES = 12
"""Sizes that determine the line: the ones observed last. Their pairwise slopes are sorted after each batch."""

_MIN_SIZES = 2
"""Sizes that are taken as observed. Of further ones, an observation far from the line may be due to the pace."""

_MIN_S = 1e-6


class RunTimeModel:
    """Predicts the run time of a batch, exclusive on all cores or concurrent on a share of them."""

    def __init__(self, workers: int) -> None:
        """Create the model of batches of which up to `workers` run concurrently."""
        self._usual_concurrency = self._concurrency = math.log(workers)
        self._pace = 0.0
        self._faded_at: float | None = None
        self._sizes: dict[int, float] = {}  # size -> logarithm of its seconds at the usual pace; the last observed last
        self._base_s = self._item_s = 0.0

    @property
    def pace(self) -> float:
        """Current duration of batches as a multiple of the usual one."""
        return math.exp(self._pace)

    @property
    def concurrency(self) -> float:
        """Duration of a concurrent batch as a multiple of that of an exclusive one."""
        return math.exp(self._concurrency)

    def fade(self, now: float) -> None:
        """Forget the pace of the past; `now` in seconds of any monotonic clock."""
        if self._faded_at is not None:
            self._pace *= math.exp((self._faded_at - now) / _PACE_MEMORY_S)
            excess = max(0.0, self._concurrency - self._usual_concurrency)
            self._concurrency -= excess * (1 - math.exp((self._faded_at - now) / _CONCURRENCY_MEMORY_S))
        self._faded_at = now

    def observe(self, size: int, seconds: float, *, concurrent: bool) -> None:
        """Take into account a batch that ran."""
        usual = math.log(max(seconds, _MIN_S)) - self._pace - (self._concurrency if concurrent else 0.0)
        if size not in self._sizes and len(self._sizes) < _MIN_SIZES:
            self._sizes[size] = usual
        else:
            expected = math.log(self._line_s(size))
            self._correct(_step(usual - expected), concurrent=concurrent)
            known = self._sizes.pop(size, expected)  # and append it again
            self._sizes[size] = known + _SIZE_WEIGHT * _step(usual - known)
        if len(self._sizes) > _MAX_SIZES:
            del self._sizes[next(iter(self._sizes))]
        self._base_s, self._item_s = _fit([(size, math.exp(value)) for size, value in self._sizes.items()])

    def predict_s(self, size: int, *, concurrent: bool) -> float:
        """Return the expected seconds of a batch; 0 for an empty one, and before the first observation."""
        if not size or not self._sizes:
            return 0.0
        factor = self._pace + self._concurrency if concurrent else self._pace
        return self._line_s(size) * math.exp(factor)

    def first_within(self, sizes: Iterable[int], within_s: float, *, concurrent: bool) -> int:
        """Return the first of the sizes that is expected to run within `within_s`, or 0."""
        return next((size for size in sizes if self.predict_s(size, concurrent=concurrent) <= within_s), 0)

    def _line_s(self, size: int) -> float:
        return self._base_s + self._item_s * size

    def _correct(self, error: float, *, concurrent: bool) -> None:
        self._pace += _PACE_WEIGHT * error
        if concurrent:
            changed = self._concurrency + _CONCURRENCY_WEIGHT * error
            self._concurrency = min(max(changed, 0.0), self._usual_concurrency + math.log(2))
        else:
            self._concurrency += _FADE_WEIGHT * (self._usual_concurrency - self._concurrency)


def _step(error: float) -> float:
    return _clip(error if error > 0 else _FASTER * error)


def _clip(error: float) -> float:
    return min(max(error, -_MAX_ERROR), _MAX_ERROR)


def _fit(points: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """Fit base and slope, neither of them negative: medians of the slopes and intercepts (Theil, 1950; Sen, 1968).

    Unlike least squares, they ignore a few sizes that were observed during a slowdown only.
    """
    slopes = [(t2 - t1) / (n2 - n1) for (n1, t1), (n2, t2) in itertools.combinations(points, 2)]
    slope = max(0.0, statistics.median(slopes)) if slopes else 0.0
    base = statistics.median(seconds - slope * size for size, seconds in points)
    if slopes and base >= 0:
        return base, slope
    return 0.0, statistics.median(seconds / size for size, seconds in points)
