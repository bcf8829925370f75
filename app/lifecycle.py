"""Where the server is between its start and its end; what probes and routes ask."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Phase(Enum):
    """A server moves down this list and never up."""

    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"


@dataclass
class Lifecycle:
    """The phase, and how many requests are being answered. Touched by the event loop only."""

    phase: Phase = Phase.LOADING
    in_flight: int = 0

    def loaded(self) -> None:
        """Every model is loaded and warm; a server that is already draining stays so."""
        if self.phase is Phase.LOADING:
            self.phase = Phase.READY

    def drain(self) -> None:
        """From now on new work is refused, and what was accepted finishes."""
        self.phase = Phase.DRAINING

    @property
    def ready(self) -> bool:
        """Whether new work is taken."""
        return self.phase is Phase.READY

    @property
    def draining(self) -> bool:
        """Whether the end has begun."""
        return self.phase is Phase.DRAINING
