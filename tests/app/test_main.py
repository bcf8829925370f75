"""The app as a whole: startup failures, the prefix of a proxy, and the version."""

from __future__ import annotations

import asyncio
import threading
import tomllib
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from app import VERSION
from app.main import create_app
from app.settings import Settings
from models.artifacts.catalog import Catalog
from models.artifacts.store import ArtifactVersions
from models.errors import CorruptArtifact
from tests.support.asgi import running
from tests.support.paths import ROOT

pytestmark = pytest.mark.anyio


async def test_failure_to_load_the_models_is_reported_to_the_process(tiny_store: Path) -> None:
    failed = threading.Event()

    def fail(_settings: Settings, _previous: Catalog | None, _hidden: ArtifactVersions) -> Catalog:
        raise CorruptArtifact("a test")

    app = create_app(Settings(store=tiny_store), load_models=fail, on_failure=failed.set)
    async with running(app) as client:
        assert await asyncio.to_thread(failed.wait, 10)
        assert (await client.get("/readyz")).status_code == 503


async def test_every_address_is_served_below_the_prefix_of_a_proxy(make_app: Callable[..., FastAPI]) -> None:
    transport = httpx.ASGITransport(make_app(root_path="/vision"), root_path="/vision")
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        assert (await client.get("/vision/livez")).status_code == 200
        assert 'href="/vision/static/' in (await client.get("/vision/docs")).text
        assert (await client.get("/vision/static/page.css")).status_code == 200


def test_version_is_that_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["version"] == VERSION
