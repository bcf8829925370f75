"""Fixtures that run an app on the tiny store in this process with its real lifespan."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.main import create_app
from app.settings import Settings
from tests.support import colour_store
from tests.support.asgi import Serve, is_ready, running
from tests.support.colour_engine import ColourEngine
from tests.support.polling import eventually


def _app(engines: dict[str, ColourEngine], **settings: Any) -> FastAPI:
    load_models = partial(colour_store.load_models, engines=engines)
    return create_app(Settings(**settings), load_models=load_models)


@pytest.fixture
def engines() -> dict[str, ColourEngine]:
    return {"near_net": ColourEngine(), "far_net": ColourEngine()}


@pytest.fixture
def engine(engines: dict[str, ColourEngine]) -> ColourEngine:
    """Return the engine of `colours` and `tones`."""
    return engines["near_net"]


@pytest.fixture
def make_app(tiny_store: Path, engines: dict[str, ColourEngine]) -> Callable[..., FastAPI]:
    """Return a function that builds an app; keyword arguments are settings."""

    def build(**settings: Any) -> FastAPI:
        return _app(engines, **{"store": tiny_store, **settings})

    return build


@pytest.fixture
def serve(make_app: Callable[..., FastAPI], engines: dict[str, ColourEngine]) -> Serve:
    """Return a context manager that runs an app and yields its client once it is ready; keywords are settings."""

    @asynccontextmanager
    async def run(**settings: Any) -> AsyncIterator[httpx.AsyncClient]:
        async with running(make_app(**settings)) as client:
            await eventually(lambda: is_ready(client))
            for engine in engines.values():
                engine.reset()
            try:
                yield client
            finally:
                for engine in engines.values():
                    engine.unblocked.set()

    return run


@pytest.fixture
async def own_client(serve: Serve) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client of an app that no other test uses."""
    async with serve() as ready:
        yield ready


@pytest.fixture(scope="module")
async def client(tiny_store: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client of an app that the tests of a module share, so that its decode workers start only once.

    Tests that control the engine, read metrics or change the app take `own_client` or `serve`.
    """
    engines = {"near_net": ColourEngine(), "far_net": ColourEngine()}
    async with running(_app(engines, store=tiny_store)) as ready:
        await eventually(lambda: is_ready(ready))
        yield ready
