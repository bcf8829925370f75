"""The state of one app: settings, life cycle, and what its routes share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import cast

from fastapi import Request

from app.auth.access import AccessControl
from app.errors import Draining, NotReady, WorkerDied
from app.inference.model_manager import ModelManager
from app.inference.service import Service
from app.settings import Settings
from app.telemetry.metrics import Metrics
from app.uploads.archive_threads import ArchiveThreads
from app.uploads.budget import MemoryBudget


class Phase(Enum):
    """The phases of a server; it moves down this list and never up."""

    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"


@dataclass
class Lifecycle:
    """The phase of the server and the number of its requests in flight. Used on the event loop only."""

    phase: Phase = Phase.LOADING
    requests_in_flight: int = 0

    def finish_loading(self) -> None:
        """Start accepting requests, unless the server is already draining."""
        if self.phase is Phase.LOADING:
            self.phase = Phase.READY

    def drain(self) -> None:
        """Reject new requests from now on; accepted ones finish."""
        self.phase = Phase.DRAINING

    @property
    def is_ready(self) -> bool:
        """True while new requests are accepted."""
        return self.phase is Phase.READY

    @property
    def is_draining(self) -> bool:
        """True once shutdown has begun."""
        return self.phase is Phase.DRAINING


@dataclass
class AppState:
    """Everything that the middleware and routes of one app share. Lives on one event loop."""

    settings: Settings
    access: AccessControl
    budget: MemoryBudget
    keyless_budget: MemoryBudget
    """For requests that must prove a key before they may use the other budget."""
    metrics: Metrics
    manager: ModelManager
    lifecycle: Lifecycle = field(default_factory=Lifecycle)
    archive_threads: ArchiveThreads = field(default_factory=ArchiveThreads)

    def check_alive(self) -> None:
        """Raise WorkerDied if an inference or decode worker has died, so that the process must restart."""
        if not self.manager.is_alive:
            raise WorkerDied("An inference or decode worker died; the server is exiting. Send the request again.")

    def ready_service(self) -> Service:
        """Return the current service.

        Raises:
            WorkerDied, NotReady, Draining: new requests are not accepted.
        """
        self.check_alive()
        if self.lifecycle.is_draining:
            raise Draining("The server is shutting down. Send the request again; another server may accept it.")
        if self.manager.service is None:
            raise NotReady("The models are still loading. Retry in a few seconds.")
        return self.manager.service

    @contextmanager
    def lease_service(self) -> Iterator[Service]:
        """Yield the current service and keep it open until the context exits; raises as `ready_service` does."""
        self.ready_service()
        with self.manager.lease() as service:
            yield service


def get_state(request: Request) -> AppState:
    """Return the state of the app that received a request."""
    return cast(AppState, request.app.state.app_state)
