"""Build the app: middleware, routes, and a lifespan that loads, serves and reloads the models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog
from fastapi import FastAPI

from app.api import problems
from app.api.fast_route import FastRoute, FastRouteMiddleware
from app.auth.access import AccessControl
from app.inference.model_loading import LoadedModels, Loader, load_catalog
from app.inference.model_manager import ModelManager
from app.middleware.access_log import AccessLogMiddleware
from app.middleware.allowed_hosts import AllowedHostsMiddleware
from app.middleware.auth import AuthMiddleware, is_public
from app.middleware.compression import CompressionMiddleware
from app.middleware.cors import CorsMiddleware
from app.middleware.cross_origin import CrossOriginMiddleware
from app.middleware.head import HeadMiddleware
from app.middleware.request_context import RequestContextMiddleware
from app.openapi.document import DocumentedApp
from app.page import static_files
from app.routes import (
    admin,
    classify,
    classify_batch,
    docs,
    embed,
    health,
    metrics,
    models,
    page,
    status,
    torchserve,
    v2,
)
from app.settings import Settings
from app.state import AppState
from app.telemetry.metrics import Metrics
from app.uploads.budget import MemoryBudget
from models.errors import ModelsError

logger = structlog.get_logger("app")

_NO_TELEMETRY = {"tracing": False, "metrics": False, "logs": False}  # FastAPI's own, which costs time for each request
_KEYLESS_SHARE = 1 / 16  # of the memory budget, in addition to it: the beginnings of forms whose key is still to come
_ROUTE_MODULES = (classify, classify_batch, embed, torchserve, v2, models, admin, status, health, docs, page)


def create_app(
    settings: Settings,
    *,
    load_models: Loader = load_catalog,
    warm_decoder: bool = False,
    on_ready: Callable[[LoadedModels], None] | None = None,
    on_failure: Callable[[], None] | None = None,
) -> FastAPI:
    """Build the app. It responds to probes at once, and other requests when its models are loaded and warm.

    Args:
        settings: all settings.
        load_models: loads the catalog in a thread; may raise ModelsError.
        warm_decoder: become ready only when the decode workers run; otherwise the first images wait for them.
        on_ready: called when the app accepts requests.
        on_failure: called when loading the models failed; the error has been logged.
    """
    telemetry = Metrics()
    state = AppState(
        settings,
        AccessControl(settings),
        MemoryBudget(settings.max_buffered_bytes),
        MemoryBudget(int(settings.max_buffered_bytes * _KEYLESS_SHARE)),
        telemetry,
        ModelManager(settings, telemetry, load_models),
    )

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        serving = asyncio.create_task(_load_and_watch(state, warm_decoder, on_ready, on_failure))
        yield
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        await asyncio.to_thread(state.archive_threads.close)
        await state.manager.close()

    def is_protected(path: str) -> bool:
        return state.access.needs_key and not is_public(path, settings)

    app = DocumentedApp(
        is_protected, docs_url=None, redoc_url=None, redirect_slashes=False, lifespan=lifespan, telemetry=_NO_TELEMETRY
    )
    app.state.app_state = state
    problems.install(app)
    _add_middleware(app, state)
    _add_routes(app, state)
    return app


def _add_middleware(app: FastAPI, state: AppState) -> None:
    """Add the middleware, innermost first."""
    routes = [route for module in _ROUTE_MODULES for route in module.router.routes if isinstance(route, FastRoute)]
    app.add_middleware(FastRouteMiddleware, routes=routes)
    app.add_middleware(CompressionMiddleware)
    app.add_middleware(HeadMiddleware)
    app.add_middleware(AuthMiddleware, state=state)
    app.add_middleware(CrossOriginMiddleware, settings=state.settings)
    if state.settings.cors_origins:
        app.add_middleware(CorsMiddleware, settings=state.settings)
    app.add_middleware(AllowedHostsMiddleware, settings=state.settings)
    app.add_middleware(AccessLogMiddleware, state=state)
    app.add_middleware(RequestContextMiddleware, state=state)


def _add_routes(app: FastAPI, state: AppState) -> None:
    for module in _ROUTE_MODULES:
        app.include_router(module.router)
    if state.settings.metrics_public or state.access.needs_key:
        app.include_router(metrics.router)
    app.mount("/static/swagger", docs.swagger_files())
    app.mount("/static", static_files())


async def _load_and_watch(
    state: AppState,
    warm_decoder: bool,
    on_ready: Callable[[LoadedModels], None] | None,
    on_failure: Callable[[], None] | None,
) -> None:
    """Load the models, accept requests, then reload the store whenever it changes; runs until cancelled."""
    try:
        loaded = await state.manager.start(warm_decoder=warm_decoder)
    except Exception as error:
        if isinstance(error, ModelsError):
            logger.critical(str(error))
        else:
            logger.critical("Loading the models failed.", exc_info=error)
        if on_failure:
            on_failure()
        return
    state.lifecycle.finish_loading()
    if on_ready:
        on_ready(loaded)
    await state.manager.watch()
