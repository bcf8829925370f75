"""A server that refuses has no time to look at what it refuses: who comes while there is no room is told so first."""

from __future__ import annotations

from contextlib import suppress

from fastapi import Request

from app.state import deadline, get_state, request_header

_WORK = frozenset({"POST", "PUT"})


def check(request: Request) -> None:
    """Refuse work of whatever models, before its address has looked at it, where no network would take a single row.

    Only after somebody was refused, until somebody is not: otherwise this is for the address, which knows the models.

    Raises:
        Overloaded, DeadlineUnmeetable: as the address would, by the network that has room first.
    """
    service = get_state(request).service
    if service and service.admission.is_shedding and request.scope["method"] in _WORK:
        service.admission.check_any(deadline(request, _timeout_ms(request)))


def _timeout_ms(request: Request) -> float | None:
    """None also for what is no time: the address says what is wrong with it."""
    with suppress(ValueError):
        sent_ms = float(request_header(request.scope, b"x-request-timeout-ms") or "")
        return sent_ms if sent_ms > 0 else None
    return None
