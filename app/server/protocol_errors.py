"""Log malformed requests without letting clients fill the log."""

from __future__ import annotations

import time
from http import HTTPStatus

import structlog

_INTERVAL_S = 10.0

logger = structlog.get_logger("app")


class ProtocolErrorLog:
    """Logs at most one malformed request in ten seconds, with the number of those in between."""

    def __init__(self) -> None:
        """Start with nothing logged."""
        self._next_s = 0.0
        self._unlogged = 0

    def log(self, status: HTTPStatus, reason: str) -> None:
        """Log a request that was rejected before any app, or count it for the next entry."""
        now = time.monotonic()
        if now < self._next_s:
            self._unlogged += 1
            return
        logger.warning(
            "Rejected what is no valid HTTP request.", status=int(status), reason=reason, more_since_last=self._unlogged
        )
        self._next_s, self._unlogged = now + _INTERVAL_S, 0
