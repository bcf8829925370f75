"""An app on a tiny store, in this process, with its real lifespan."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from asgi_lifespan import LifespanManager
from fastapi import FastAPI

from app.main import create_app
from app.settings import Settings
from tests.support import tiny_app as tiny
from tests.support.processes import server
from tests.support.tiny_app import ColourEngine

Serve = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def tiny_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("store")
    tiny.build(root)
    return root


@pytest.fixture(scope="session")
def tiny_address(tiny_store: Path) -> Iterator[str]:
    """Where a server process with the tiny store listens; it is shared, so leave it as it is."""
    with server("tests.support.tiny_server", APP_STORE=str(tiny_store)) as started:
        yield started.address()


@pytest.fixture
def engines() -> dict[str, ColourEngine]:
    return {"near_net": ColourEngine(), "far_net": ColourEngine()}


@pytest.fixture
def engine(engines: dict[str, ColourEngine]) -> ColourEngine:
    """The engine below `colours` and `tones`."""
    return engines["near_net"]


@pytest.fixture
def make_app(tiny_store: Path, engines: dict[str, ColourEngine]) -> Callable[..., FastAPI]:
    """Build an app; keyword arguments are settings."""

    def build(**settings: Any) -> FastAPI:
        return create_app(
            Settings(**{"store": tiny_store, **settings}), load_models=partial(tiny.load, engines=engines)
        )

    return build


@pytest.fixture
def serve(make_app: Callable[..., FastAPI], engines: dict[str, ColourEngine]) -> Serve:
    """Run an app and give its client once it is ready; keyword arguments are settings."""

    @asynccontextmanager
    async def run(**settings: Any) -> AsyncIterator[httpx.AsyncClient]:
        async with running(make_app(**settings)) as client:
            await eventually(lambda: is_ready(client))
            for each in engines.values():  # forget the batches that warmed it
                each.sizes.clear()
                while each.began.acquire(blocking=False):
                    pass
            try:
                yield client
            finally:
                for each in engines.values():
                    each.go.set()

    return run


@pytest.fixture
async def client(serve: Serve) -> AsyncIterator[httpx.AsyncClient]:
    async with serve() as ready:
        yield ready


async def is_ready(client: httpx.AsyncClient) -> bool:
    return (await client.get("/readyz")).status_code == httpx.codes.OK


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something holds; a test's own time limit bounds it."""
    while not await holds():  # noqa: ASYNC110 - what is asked lies beyond HTTP, which has no events
        await asyncio.sleep(0.01)


@asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an app whose lifespan has begun, ready or not."""
    async with LifespanManager(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            yield client
