"""The values of one request that the middleware, the routes and the error handler share, in one typed object."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from fastapi import Request

from app.asgi import Scope
from app.auth.access import Caller
from app.uploads.budget import MemoryLease

_KEY = "context"


@dataclass(slots=True)
class RequestContext:
    """One request, from its first byte to the end of its response. Used only on the event loop thread."""

    request_id: str
    path: str
    """The path without the prefix that a proxy added."""
    is_probe: bool
    """True for health checks and scrapes, which do not count as work and are logged at debug level."""
    lease: MemoryLease
    """The memory that this request's body occupies."""
    started: float = field(default_factory=time.monotonic)
    caller: Caller | None = None
    """Set when the request is authenticated; None on public routes other than the form of the page."""

    def elapsed_s(self) -> float:
        """Return the seconds since the request started."""
        return time.monotonic() - self.started

    def deadline(self, timeout_ms: float | None) -> float | None:
        """Return the absolute monotonic deadline for a timeout in milliseconds; None if there is no timeout."""
        return self.started + timeout_ms / 1000 if timeout_ms else None


def attach_context(scope: Scope, context: RequestContext) -> None:
    """Store the context in an ASGI scope; called once for each request."""
    scope.setdefault("state", {})[_KEY] = context


def scope_context(scope: Scope) -> RequestContext:
    """Return the context of an ASGI scope."""
    context: RequestContext = scope["state"][_KEY]
    return context


def get_context(request: Request) -> RequestContext:
    """Return the context of a request."""
    return scope_context(request.scope)
