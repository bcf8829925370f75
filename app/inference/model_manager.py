"""Own the current service: load it at startup, reload it when the store changes, retire it when it is replaced.

A reload loads, verifies and warms up the new models beside the current ones, then swaps them. The previous service
closes when its last request has ended; engines that both use keep running.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from app.errors import Conflict, NotReady
from app.inference.model_loading import LoadedModels, Loader, load_models
from app.inference.service import Service
from app.settings import Settings
from app.telemetry.metrics import Metrics
from app.threads import run_in_daemon_thread
from models.artifacts.catalog import Catalog
from models.artifacts.store import ArtifactVersions, Store
from models.errors import ArtifactsRejected, ModelsError

logger = structlog.get_logger("app")

Fingerprint = frozenset[tuple[str, int, int]]

_CLOSE_TIMEOUT_S = 1.0  # for the running batch; accepted requests had their time in the drain before
_RELOAD_FAILED = "Model store reload failed; still serving the previous models."


class ModelManager:
    """Loads, replaces and retires services. Lives on one event loop."""

    def __init__(self, settings: Settings, metrics: Metrics, loader: Loader) -> None:
        """Prepare to load the models; nothing is loaded yet."""
        self._settings, self._metrics, self._loader = settings, metrics, loader
        self._store = Store(settings.store)
        self._loaded_state: Fingerprint = frozenset()  # of the store when it was last loaded
        self._last_state: Fingerprint = frozenset()  # of the store at the last poll
        self._current: _LeasedService | None = None
        self._retired: deque[_LeasedService] = deque()  # oldest first
        self._retiring: asyncio.Task[None] | None = None
        self._hidden: ArtifactVersions = frozenset()  # versions of the store that an operator unloaded
        self._reload_requested = asyncio.Event()
        self._changing = asyncio.Lock()

    @property
    def service(self) -> Service | None:
        """The current service; None until the models are loaded."""
        return self._current.service if self._current else None

    @property
    def is_alive(self) -> bool:
        """Return False when a batch worker of the current service has died, or no decode worker can be started."""
        return self._current is None or self._current.service.is_alive

    @contextmanager
    def lease(self) -> Iterator[Service]:
        """Yield the current service and keep it open until the context exits, even if it is replaced meanwhile.

        Raises:
            NotReady: the models are still loading.
        """
        if self._current is None:
            raise NotReady("The models are still loading. Retry in a few seconds.")
        with self._current.lease() as service:
            yield service

    def request_reload(self) -> None:
        """Reload the store soon, even if it looks unchanged."""
        self._reload_requested.set()

    async def start(self, *, warm_decoder: bool) -> LoadedModels:
        """Load the models and start serving them.

        Args:
            warm_decoder: wait until the decode workers run; otherwise they start with the first images.

        Raises:
            ModelsError: the store cannot be served, or no decode worker starts.
        """
        self._loaded_state = self._last_state = await asyncio.to_thread(self._store.fingerprint)
        models = await run_in_daemon_thread(lambda: load_models(self._settings, self._loader))
        self._current = _LeasedService(Service(models, self._settings, self._metrics))
        if warm_decoder:
            await self._current.service.decoder.warm_up()
        return models

    async def watch(self) -> None:
        """Reload the store whenever it has changed and settled, or on request; runs until cancelled."""
        while True:
            is_requested = await self._wait_for_request()
            try:
                state = await asyncio.to_thread(self._store.fingerprint)
                has_settled, self._last_state = state == self._last_state, state
                if is_requested or (state != self._loaded_state and has_settled):
                    self._loaded_state = state
                    await self._reload()
            except Exception:
                logger.exception("Checking the model store for changes failed.")

    async def unload(self, name: str, version: int | None, ready: Callable[[], Service]) -> None:
        """Stop serving a model, or one version of it; the store is neither read nor changed.

        Args:
            name: name of the model.
            version: version of the model; None for all.
            ready: returns the service if changes are still accepted once it is this call's turn, else raises.

        Raises:
            ModelNotFound: the model is not served.
            Conflict: it is the last model, or the configured default; nothing has changed.
        """
        async with self._changing:
            catalog = ready().models.catalog
            catalog.find(name, version)
            remaining = tuple(
                model for model in catalog.classifiers if model.name != name or version not in (None, model.version)
            )
            if not remaining:
                raise Conflict("Nothing has changed: the last served model cannot be unloaded.")
            removed = {(model.name, model.version) for model in catalog.classifiers if model not in remaining}
            await self._change(self._hidden | removed, lambda *_: Catalog(remaining))

    async def load(self, name: str, version: int | None, ready: Callable[[], Service]) -> None:
        """Reload the store including a model, or one version of it, that was unloaded; see `unload`.

        Raises:
            Conflict: the store cannot be served; nothing has changed.
        """
        async with self._changing:
            ready()
            restored = {model for model in self._hidden if model[0] == name and version in (None, model[1])}
            await self._change(self._hidden - restored, self._loader)

    async def close(self) -> None:
        """Close all services without waiting for requests that still use them."""
        if self._retiring:
            self._retiring.cancel()
            await asyncio.gather(self._retiring, return_exceptions=True)
        while self._retired:
            await asyncio.to_thread(self._retired.popleft().service.close, _CLOSE_TIMEOUT_S, self.service)
        if self._current:
            await self._current.service.decoder.close()
            await asyncio.to_thread(self._current.service.close, _CLOSE_TIMEOUT_S)

    async def _wait_for_request(self) -> bool:
        """Wait for the next poll of the store; return True if a reload was requested."""
        try:
            await asyncio.wait_for(self._reload_requested.wait(), self._settings.store_poll_s or None)
        except TimeoutError:
            return False
        self._reload_requested.clear()
        return True

    async def _reload(self) -> None:
        try:
            async with self._changing:
                await self._replace(self._hidden, self._loader)
        except ModelsError as error:
            for reason in error.reasons if isinstance(error, ArtifactsRejected) else (error,):
                logger.error(_RELOAD_FAILED, why=str(reason))
        except Exception as error:
            logger.error(_RELOAD_FAILED, exc_info=error)

    async def _change(self, hidden: ArtifactVersions, loader: Loader) -> None:
        try:
            await self._replace(hidden, loader)
        except ModelsError as error:
            raise Conflict(f"Nothing has changed: {error}") from error

    async def _replace(self, hidden: ArtifactVersions, loader: Loader) -> None:
        """Load models and serve them instead of the current ones."""
        previous = self._current
        assert previous is not None, "the models are replaced only after the first load"
        catalog = previous.service.models.catalog
        models = await run_in_daemon_thread(lambda: load_models(self._settings, loader, catalog, hidden))
        self._current = _LeasedService(Service(models, self._settings, self._metrics, previous.service))
        self._hidden = hidden
        logger.info("Reloaded the model store.", models=[model.label for model in models.catalog.classifiers])
        self._retired.append(previous)
        if self._retiring is None or self._retiring.done():
            self._retiring = asyncio.create_task(self._retire())

    async def _retire(self) -> None:
        """Close retired services, oldest first, each when its last request has ended.

        The order matters: a service shares batchers with its successor, and the successor may still use them.
        """
        while self._retired:
            await self._retired[0].idle.wait()
            successor = self._retired[1].service if len(self._retired) > 1 else self.service
            await asyncio.to_thread(self._retired[0].service.close, _CLOSE_TIMEOUT_S, successor)
            self._retired.popleft()  # only now: close() handles those whose retirement was cancelled


class _LeasedService:
    """A service and the number of requests that use it."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.idle = asyncio.Event()
        self.idle.set()
        self._leases = 0

    @contextmanager
    def lease(self) -> Iterator[Service]:
        """Count one request until the context exits."""
        self._leases += 1
        self.idle.clear()
        try:
            yield self.service
        finally:
            self._leases -= 1
            if not self._leases:
                self.idle.set()
