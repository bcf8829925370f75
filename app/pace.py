"""How long a batch takes, learnt from those that ran."""

from __future__ import annotations

#: Weight that an observation keeps with each one after it: what was 35 batches ago counts a sixth.
_MEMORY = 0.95


class Pace:
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

    def of(self, size: int) -> float:
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
