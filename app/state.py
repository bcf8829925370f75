"""What an app holds, and how its routes come by it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from fastapi import Request
from starlette.types import Scope

from app.auth.access import AccessControl
from app.errors import Draining, NotReady, WorkerDied
from app.inference.service import Service
from app.lifecycle import Lifecycle
from app.settings import Settings
from app.telemetry.metrics import Metrics
from app.uploads.budget import MemoryBudget

if TYPE_CHECKING:
    from app.inference.model_manager import ModelManager


@dataclass
class AppState:
    """One app's settings, phase, metrics, and its service once the models are loaded."""

    settings: Settings
    access: AccessControl
    bodies: MemoryBudget
    lifecycle: Lifecycle = field(default_factory=Lifecycle)
    metrics: Metrics = field(default_factory=Metrics)
    service: Service | None = None
    reloader: ModelManager | None = None
    reload: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_alive(self) -> bool:
        """Whether nothing has died that runs a network or decodes; nothing has before there is any."""
        return self.service is None or self.service.is_alive

    def check_alive(self) -> None:
        """Raise WorkerDied where the server is past mending itself."""
        if not self.is_alive:
            raise WorkerDied("A part of this server has died, so it ends. Another one may answer.")

    def working_service(self) -> Service:
        """The service, if new work is taken; raises WorkerDied, NotReady, Draining."""
        self.check_alive()
        if self.lifecycle.draining:
            raise Draining("The server is shutting down. Send the request again; another one may take it.")
        if self.service is None:
            raise NotReady("The models are still being loaded. Try again in a few seconds.")
        return self.service


def get_state(request: Request) -> AppState:
    """The state of the app that a request came to."""
    return cast(AppState, request.app.state.held)


def deadline(request: Request, timeout_ms: float | None) -> float | None:
    """When nobody wants the answer any more, as `time.monotonic()`; none if that is never."""
    allowed_ms = timeout_ms or get_state(request).settings.deadline_ms
    began: float = request.state.began
    return began + allowed_ms / 1000 if allowed_ms else None


def request_header(scope: Scope, name: bytes) -> str | None:
    """The first value of a header, of a request of which nothing else is read yet; its name in lower case."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), None)


def elapsed_s(request: Request) -> float:
    """Seconds since the request's first byte."""
    return time.monotonic() - cast(float, request.state.began)
