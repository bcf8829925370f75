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


GET_PATHS = (
    *("/", "/livez", "/readyz", "/healthz", "/openapi.json", "/metrics", "/docs", "/favicon.ico", "/static/page.css"),
    *("/v1/models", "/v1/models/colours", "/cards/colours/2"),
    *("/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/colours", "/v2/models/colours/ready"),
)


@pytest.mark.parametrize("path", GET_PATHS)
async def test_head_is_supported_where_get_is(client: httpx.AsyncClient, path: str) -> None:
    head, get = await client.head(path), await client.get(path)
    assert head.status_code == get.status_code
    assert head.content == b""
    assert head.headers.get("Content-Type") == get.headers.get("Content-Type")


async def test_head_is_not_supported_where_get_is_not(client: httpx.AsyncClient) -> None:
    response = await client.head("/v1/classify")
    assert (response.status_code, response.headers["Allow"]) == (405, "POST")
    assert (await client.post("/livez")).headers["Allow"] == "GET, HEAD"


async def test_v2_probes_have_the_bodies_of_the_protocol(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v2/health/live")).json() == {"live": True}
    assert (await client.get("/v2/health/ready")).json() == {"ready": True}
    for path in ("/v2/models/colours/ready", "/v2/models/colours/versions/1/ready"):
        assert (await client.get(path)).json() == {"name": "colours", "ready": True}
