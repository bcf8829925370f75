"""The app: load, verify, warm up, serve, drain."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog
from fastapi import FastAPI

from app.api import problems
from app.api.fast_route import FastRoute, FastRouteMiddleware
from app.auth.access import AccessControl
from app.inference import model_loading
from app.inference.model_loading import LoadedModels, Loader, load_catalog
from app.inference.model_manager import ModelManager
from app.inference.service import Service
from app.middleware.access_log import AccessLogMiddleware, RequestContextMiddleware
from app.middleware.auth import AuthMiddleware, Cors, is_open
from app.openapi.document import DocumentedApp
from app.page import static_files
from app.routes import admin, cards, classify, docs, embed, health, metrics, models, page, v2
from app.routes import classify_batch as batch
from app.routes import torchserve as predictions
from app.settings import Settings
from app.state import AppState
from app.threads import run_in_daemon_thread
from app.uploads.budget import MemoryBudget
from models.errors import ModelsError

logger = structlog.get_logger("app")

_NO_TELEMETRY = {"tracing": False, "metrics": False, "logs": False}  # FastAPI's, which has a cost even for nobody
_CLOSE_S = 1.0  # accepted requests had their time before, in the drain


def create_app(
    settings: Settings,
    *,
    load_models: Loader = load_catalog,
    warm: bool = False,
    on_ready: Callable[[LoadedModels], None] | None = None,
    on_failure: Callable[[], None] | None = None,
) -> FastAPI:
    """Build the app; it answers probes at once, and everything else when its models are loaded and warm.

    Args:
        settings: all of them.
        load_models: settings, the catalog before, if there is one, and what is hidden -> the catalog; called in a
            thread, may raise ModelsError.
        warm: whether it is ready only when the processes that decode are, which the first pictures else wait for.
        on_ready: called when work is taken.
        on_failure: called when the models could not be loaded, which has been logged.
    """
    state = AppState(settings, AccessControl(settings), MemoryBudget(settings.max_buffered_bytes))

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        state.reloader = reloader = ModelManager(state, load_models)

        async def load_and_watch() -> None:
            await _load(state, load_models, warm, on_ready, on_failure)
            await reloader.run()

        models = asyncio.create_task(load_and_watch())
        yield
        models.cancel()
        await asyncio.gather(models, return_exceptions=True)
        await reloader.close()
        if state.service:
            await state.service.decoder.close()
            await asyncio.to_thread(state.service.close, _CLOSE_S)

    def is_closed(path: str) -> bool:
        return state.access.needs_key and not is_open(path, settings)

    app = DocumentedApp(is_closed, docs_url=None, redoc_url=None, lifespan=lifespan, telemetry=_NO_TELEMETRY)
    app.state.held = state
    families = (classify, batch, embed, predictions, v2, models, admin, health, docs, page, cards)
    direct = [route for family in families for route in family.router.routes if isinstance(route, FastRoute)]
    app.add_middleware(FastRouteMiddleware, routes=direct)
    app.add_middleware(AuthMiddleware, state=state)
    if settings.cors_origins:
        app.add_middleware(Cors, settings=settings)
    app.add_middleware(AccessLogMiddleware, state=state)
    app.add_middleware(RequestContextMiddleware, state=state)  # the last one added is the outermost
    problems.install(app)
    for family in families:
        app.include_router(family.router)
    if settings.metrics_public or state.access.needs_key:
        app.include_router(metrics.router)
    app.mount("/static/swagger", docs.swagger_files())
    app.mount("/static", static_files())
    return app


async def _load(
    state: AppState,
    load_models: Loader,
    warm: bool,
    on_ready: Callable[[LoadedModels], None] | None,
    on_failure: Callable[[], None] | None,
) -> None:
    try:
        loaded = await run_in_daemon_thread(lambda: model_loading.load_models(state.settings, load_models))
        state.service = Service(loaded, state.settings, state.metrics)
        if warm:
            await state.service.decoder.warm()
    except Exception as error:
        if isinstance(error, ModelsError):
            logger.critical(str(error))
        else:
            logger.critical("The models could not be loaded.", exc_info=error)
        if on_failure:
            on_failure()
        return
    state.lifecycle.loaded()
    if on_ready:
        on_ready(loaded)
