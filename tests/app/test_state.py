"""The phases of a server: loading, ready and draining."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from app.main import create_app
from app.settings import Settings
from app.state import AppState
from models.artifacts.catalog import Catalog
from models.artifacts.store import ArtifactVersions
from models.errors import CorruptArtifact
from tests.support.asgi import Serve, app_of, block_engine, post_image, running
from tests.support.colour_engine import ColourEngine
from tests.support.encoded_images import encoded

pytestmark = pytest.mark.anyio

IMAGE = encoded()


async def test_only_liveness_is_200_while_the_models_load(tiny_store: Path) -> None:
    go = threading.Event()

    def load_slowly(_settings: Settings, _previous: Catalog | None, _hidden: ArtifactVersions) -> Catalog:
        go.wait(10)
        raise CorruptArtifact("a test")

    async with running(create_app(Settings(store=tiny_store), load_models=load_slowly)) as client:
        assert (await client.get("/livez")).status_code == 200
        for path in ("/readyz", "/healthz", "/v1/models"):
            response = await client.get(path)
            assert (response.status_code, response.json()["code"]) == (503, "not_ready")
            assert "Retry-After" in response.headers
        page = await client.get("/")
        assert page.status_code == 503
        assert 'http-equiv="refresh"' in page.text
        go.set()


async def test_failure_to_load_the_models_is_reported_to_the_process(tiny_store: Path) -> None:
    failed = threading.Event()

    def fail(_settings: Settings, _previous: Catalog | None, _hidden: ArtifactVersions) -> Catalog:
        raise CorruptArtifact("a test")

    app = create_app(Settings(store=tiny_store), load_models=fail, on_failure=failed.set)
    async with running(app) as client:
        assert await asyncio.to_thread(failed.wait, 10)
        assert (await client.get("/readyz")).status_code == 503


async def test_draining_rejects_new_requests_and_finishes_accepted_ones(serve: Serve, engine: ColourEngine) -> None:
    async with serve() as client:
        accepted = await block_engine(engine, client, IMAGE)
        state: AppState = app_of(client).state.app_state
        state.lifecycle.drain()
        rejected = await post_image(client, IMAGE)
        assert (rejected.status_code, rejected.json()["code"]) == (503, "draining")
        assert "Retry-After" in rejected.headers
        assert rejected.headers["Connection"] == "close"
        assert (await client.get("/livez")).status_code == 200
        assert (await client.get("/readyz")).status_code == 503
        assert (await client.get("/")).status_code == 503
        assert state.lifecycle.requests_in_flight == 1
        engine.go.set()
        assert (await accepted).status_code == 200
        assert state.lifecycle.requests_in_flight == 0
