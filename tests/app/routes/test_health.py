"""Liveness and readiness probes."""

from __future__ import annotations

import threading
from pathlib import Path

import httpx
import pytest

from app.main import create_app
from app.settings import Settings
from models.artifacts.catalog import Catalog
from models.artifacts.store import ArtifactVersions
from models.errors import CorruptArtifact
from tests.support.asgi import running

pytestmark = pytest.mark.anyio


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


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz", "/"])
async def test_head_is_supported_where_get_is(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.head(path)).status_code == 200
