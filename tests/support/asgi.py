"""Running the app in this process with its real lifespan, and requests and queries that tests need."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import httpx
from asgi_lifespan import LifespanManager
from fastapi import FastAPI

from tests.support.colour_engine import ColourEngine
from tests.support.polling import eventually

Serve = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]
"""Run an app and return its client once it is ready; keyword arguments are settings."""
_BATCH_TIMEOUT_S = 20
_QUEUE_DEPTH = 'classifier_queue_depth{extractor="near_net"}'


@asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Run an app and yield its client as soon as the lifespan has started, even if the app is not ready yet."""
    async with LifespanManager(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield client


async def is_ready(client: httpx.AsyncClient) -> bool:
    return (await client.get("/readyz")).status_code == httpx.codes.OK


def app_of(client: httpx.AsyncClient) -> FastAPI:
    """Return the app that a client of `running` talks to."""
    app: FastAPI = client._transport.app  # type: ignore[attr-defined]
    return app


async def metric_value(client: httpx.AsyncClient, name: str) -> float:
    """Read the first metric whose line begins with `name`; 0 if there is none."""
    text = (await client.get("/metrics")).text
    return next((float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name)), 0)


async def wait_for_queued(client: httpx.AsyncClient, images: int) -> None:
    """Wait until this many images are queued for `near_net`."""

    async def is_queued() -> bool:
        return await metric_value(client, _QUEUE_DEPTH) == images

    await eventually(is_queued)


async def unreadable_body() -> AsyncIterator[bytes]:
    """Fail the test when this request body is read."""
    raise AssertionError("the body was read")
    yield b""


def post_image(client: httpx.AsyncClient, image: bytes, **headers: str) -> asyncio.Task[httpx.Response]:
    """Start to classify an image."""
    return asyncio.create_task(client.post("/v1/classify", content=image, headers=headers))


async def block_engine(
    engine: ColourEngine, client: httpx.AsyncClient, image: bytes, path: str = "/v1/classify", **headers: str
) -> asyncio.Task[httpx.Response]:
    """Start a request whose batch stays in the engine until `engine.unblocked` is set."""
    engine.unblocked.clear()
    request = asyncio.create_task(client.post(path, content=image, headers=headers))
    assert await asyncio.to_thread(engine.batch_started.acquire, timeout=_BATCH_TIMEOUT_S), "no batch began"
    return request
