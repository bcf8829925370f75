"""How long the first item of a batch waits for others, where a setting allows it: no longer than somebody may come."""

from __future__ import annotations

import math
from dataclasses import dataclass

#: Share of the newest observation in a running mean.
_NEW = 0.1
#: Gaps between arrivals after which a batch that could still fill begins as it is.
_PATIENCE = 3.0


@dataclass
class EWMA:
    """A running mean in which what is older weighs less."""

    value: float | None = None

    def add(self, observed: float) -> None:
        """Take in an observation."""
        self.value = observed if self.value is None else self.value + _NEW * (observed - self.value)


class Delay:
    """Learns from the gaps between arrivals; times in seconds of one clock."""

    def __init__(self, most_s: float) -> None:
        """`most_s`: by the setting; 0 for not at all."""
        self._most_s = most_s
        self._last: float | None = None
        self._gap = EWMA()

    def arrived(self, now: float) -> None:
        """Take in an arrival."""
        if self._last is not None:
            # A pause is a pause, however long: it must not outweigh a hundred arrivals after it.
            self._gap.add(min(now - self._last, 2 * self._most_s))
        self._last = now

    def end(self, first: float) -> float:
        """Until when an item that came first has to wait; the beginning of time for not at all."""
        if not self._most_s:
            return -math.inf
        end = first + self._most_s
        if self._gap.value is None or self._last is None:
            return end
        if self._gap.value > self._most_s:
            return -math.inf  # nobody is expected in time
        return min(end, self._last + _PATIENCE * self._gap.value)
