"""How long a batch takes, and how far off such estimates are, learnt from those that ran."""

from __future__ import annotations

#: Weight that an observation keeps with each one after it: what was 35 batches ago counts a sixth.
_MEMORY = 0.95

#: Shares of the newest error in the running means of errors and of deviations, and how many of these are allowed for.
_NEW_ERROR, _NEW_DEVIATION, _DEVIATIONS = 1 / 64, 1 / 32, 2.0


class EstimateError:
    """How much later than promised results come, at worst: mean and deviations, as TCP sets its timer (RFC 6298)."""

    def __init__(self) -> None:
        """Know nothing: estimates are thought to be right."""
        self._mean = self._deviation = 0.0

    @property
    def margin_s(self) -> float:
        """Seconds to add to an estimate that is to hold."""
        return max(0.0, self._mean + _DEVIATIONS * self._deviation)

    def observe(self, late_s: float) -> None:
        """Take in a result that came so much later than was promised, or earlier."""
        off = late_s - self._mean
        self._mean += _NEW_ERROR * off
        self._deviation += _NEW_DEVIATION * (abs(off) - self._deviation)


class BatchLatencyModel:
    """Seconds for a batch of n items, a + b n, by least squares over the last batches, as in BentoML's dispatcher."""

    def __init__(self) -> None:
        """Know nothing: every batch is thought to take no time."""
        self._weight = self._n = self._nn = self._t = self._nt = 0.0

    def observe(self, size: int, seconds: float) -> None:
        """Take in a batch that ran."""
        added = (1.0, size, size * size, seconds, size * seconds)
        before = (self._weight, self._n, self._nn, self._t, self._nt)
        self._weight, self._n, self._nn, self._t, self._nt = (
            old * _MEMORY + new for old, new in zip(before, added, strict=True)
        )

    @property
    def is_known(self) -> bool:
        """Whether a batch has run."""
        return self._weight > 0

    def predict_s(self, size: int) -> float:
        """Seconds that a batch of `size` items is expected to take; 0 for none."""
        if not size or not self._weight:
            return 0.0
        base, each = self._line()
        return base + each * size

    def _line(self) -> tuple[float, float]:
        """Base and slope, neither below 0."""
        spread = self._weight * self._nn - self._n**2
        if spread < 1e-9 * self._weight * self._nn:  # batches of one size alone: as if all of it were slope
            return 0.0, self._t / self._n
        each = (self._weight * self._nt - self._n * self._t) / spread
        base = (self._t - each * self._n) / self._weight
        if each < 0:
            return self._t / self._weight, 0.0
        if base < 0:
            return 0.0, self._nt / self._nn
        return base, each
