"""A store that changes while the server runs: loaded, verified and warmed beside the old one, then swapped."""

from __future__ import annotations

import asyncio
from collections import deque

import structlog

from app.errors import Conflict
from app.inference.model_loading import Loader, load_models
from app.inference.service import Service
from app.state import AppState
from app.threads import run_in_daemon_thread
from models.artifacts.catalog import Catalog
from models.artifacts.store import Store, Versions
from models.errors import ModelsError

logger = structlog.get_logger("app")

_CLOSE_S = 1.0
_REFUSED = "The changed store was not taken up; the old models go on."


class ModelManager:
    """Looks for changes at times, or when it is told to, and gives the state a new service."""

    def __init__(self, state: AppState, load_models: Loader) -> None:
        """Remember the store as it is; to be called before its models are loaded."""
        self._state, self._load_models = state, load_models
        self._store = Store(state.settings.store)
        self._known = self._last = self._store.fingerprint()
        self._hidden: Versions = frozenset()  # what the store has and operators do not want served
        self._one_at_a_time = asyncio.Lock()
        self._retiring: asyncio.Task[None] | None = None
        self._old: deque[Service] = deque()  # the services that are still to be closed, oldest first

    async def run(self) -> None:
        """Watch until cancelled; to be called when the first models serve."""
        while True:
            told = await self._wait()
            try:
                await self._look(told)
            except Exception:
                logger.exception("The store could not be looked at.")

    async def close(self) -> None:
        """End the old services, without waiting any longer for requests that are still on them."""
        if self._retiring:
            self._retiring.cancel()
            await asyncio.gather(self._retiring, return_exceptions=True)
        while self._old:
            await asyncio.to_thread(self._old.popleft().close, _CLOSE_S, self._state.service)

    async def unload(self, name: str, version: int | None = None) -> None:
        """Serve a model, or one version of it, no longer. Reads nothing, so that no broken store is in the way.

        Raises:
            ModelNotFound: it is not served.
            Conflict: nothing, or not the default that was set, would be left; then nothing has changed.
        """
        async with self._one_at_a_time:
            catalog = self._state.working_service().catalog
            catalog.find(name, version)
            left = tuple(
                each for each in catalog.classifiers if each.name != name or version not in (None, each.version)
            )
            if not left:
                raise Conflict("Nothing has changed: no model would be left to be served.")
            gone = {(each.name, each.version) for each in catalog.classifiers if each not in left}
            await self._change(self._hidden | gone, lambda *_: Catalog(left))

    async def load(self, name: str, version: int | None = None) -> None:
        """Take the store up with a model, or one version of it, that was unloaded.

        Raises:
            Conflict: the store cannot be used; then nothing has changed.
        """
        async with self._one_at_a_time:
            back = {each for each in self._hidden if each[0] == name and version in (None, each[1])}
            await self._change(self._hidden - back, self._load_models)

    async def _look(self, told: bool) -> None:
        now = await asyncio.to_thread(self._store.fingerprint)
        has_settled, self._last = now == self._last, now
        if told or (now != self._known and has_settled):
            self._known = now
            await self._reload()

    async def _wait(self) -> bool:
        """Sleep until it is time to look; True if somebody asked for it."""
        event = self._state.reload
        try:
            await asyncio.wait_for(event.wait(), self._state.settings.store_poll_s or None)
        except TimeoutError:
            return False
        event.clear()
        return True

    async def _reload(self) -> None:
        try:
            async with self._one_at_a_time:
                await self._take_up(self._hidden, self._load_models)
        except ModelsError as error:
            logger.error(_REFUSED, why=str(error))
        except Exception as error:
            logger.error(_REFUSED, exc_info=error)

    async def _change(self, hidden: Versions, loader: Loader) -> None:
        try:
            await self._take_up(hidden, loader)
        except ModelsError as error:
            raise Conflict(f"Nothing has changed: {error}") from error

    async def _take_up(self, hidden: Versions, loader: Loader) -> None:
        state, old = self._state, self._state.service
        if old is None:  # the first load failed, and the process is about to end
            return
        loaded = await run_in_daemon_thread(lambda: load_models(state.settings, loader, old.catalog, hidden))
        state.service = Service(loaded, state.settings, state.metrics, old)
        self._hidden = hidden
        logger.info("Took up the changed store.", models=[each.label for each in loaded.catalog.classifiers])
        self._old.append(old)
        if self._retiring is None or self._retiring.done():
            self._retiring = asyncio.create_task(self._retire())

    async def _retire(self) -> None:
        """End what only an old service has, when nobody asks it any more.

        One after the other: a service before another may still use what they share.
        """
        while self._old:
            await self._old[0].wait_idle()
            successor = self._old[1] if len(self._old) > 1 else self._state.service
            await asyncio.to_thread(self._old[0].close, _CLOSE_S, successor)
            self._old.popleft()  # only now: what is cancelled before is closed by close()
