"""Loading and unloading of models, which need an admin key."""

from __future__ import annotations

import asyncio
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from app.auth.keys import Role, add_key
from app.inference.model_manager import ModelManager
from app.main import create_app
from app.settings import Settings
from models.artifacts.catalog import Catalog
from models.artifacts.store import ArtifactVersions, Store
from tests.support import colour_store
from tests.support.asgi import Serve, is_ready, running
from tests.support.colour_engine import ColourEngine
from tests.support.encoded_images import encoded
from tests.support.polling import eventually

pytestmark = pytest.mark.anyio

IMAGE = encoded()


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    return tmp_path / "keys"


@pytest.fixture
def admin(keys_file: Path) -> dict[str, str]:
    """Return the header with an admin key."""
    return {"X-API-Key": add_key(keys_file, "operator", Role.ADMIN)}


@pytest.fixture
def user(keys_file: Path) -> dict[str, str]:
    """Return the header with a user's key."""
    return {"X-API-Key": add_key(keys_file, "laptop", Role.USER)}


def model_labels(response: httpx.Response) -> list[str]:
    """Return `name@version` of each model that a successful response lists."""
    assert response.status_code == 200, response.text
    return [f"{model['name']}@{model['version']}" for model in response.json()["models"]]


async def test_model_is_unloaded_and_loaded_again(serve: Serve, keys_file: Path, admin: dict[str, str]) -> None:
    async with serve(api_keys_file=keys_file) as client:
        client.headers.update(admin)
        all_models = model_labels(await client.get("/v1/models"))
        remaining = model_labels(await client.post("/v1/models/colours/unload?version=2"))
        assert remaining == [label for label in all_models if label != "colours@2"]
        assert (await client.post("/v1/classify?model=colours", content=IMAGE)).json()["version"] == 1
        assert (await client.post("/v1/classify?model=colours@2", content=IMAGE)).status_code == 404
        assert "colours@1" not in model_labels(await client.post("/v1/models/colours/unload"))
        assert model_labels(await client.post("/v1/models/colours/load")) == all_models
        assert (await client.post("/v1/classify?model=colours", content=IMAGE)).json()["version"] == 2


async def test_last_model_cannot_be_unloaded(serve: Serve, keys_file: Path, admin: dict[str, str]) -> None:
    async with serve(api_keys_file=keys_file) as client:
        client.headers.update(admin)
        for name in ("colours", "tones"):
            assert (await client.post(f"/v1/models/{name}/unload")).status_code == 200
        rejected = await client.post("/v1/models/far/unload")
        assert (rejected.status_code, rejected.json()["code"]) == (409, "conflict")
        assert model_labels(await client.get("/v1/models")) == ["far@1"]


async def test_configured_default_model_cannot_be_unloaded(
    serve: Serve, keys_file: Path, admin: dict[str, str]
) -> None:
    async with serve(api_keys_file=keys_file, default_model="far") as client:
        client.headers.update(admin)
        rejected = await client.post("/v1/models/far/unload")
        assert (rejected.status_code, "APP_DEFAULT_MODEL" in rejected.json()["detail"]) == (409, True)
        assert "far@1" in model_labels(await client.get("/v1/models"))


def waiting_changes(app: FastAPI) -> int:
    manager: ModelManager = app.state.app_state.manager
    return len(manager._changing._waiters or ())


async def test_changes_requested_during_a_reload_are_all_made(
    tiny_store: Path, engines: dict[str, ColourEngine], keys_file: Path, admin: dict[str, str]
) -> None:
    began, go = threading.Event(), threading.Event()

    def reload_slowly(settings: Settings, previous: Catalog | None, hidden: ArtifactVersions) -> Catalog:
        if previous:
            began.set()
            assert go.wait(20)
        return colour_store.load_models(settings, previous, hidden, engines=engines)

    app = create_app(Settings(store=tiny_store, api_keys_file=keys_file, store_poll_s=0), load_models=reload_slowly)
    async with running(app) as client:
        client.headers.update(admin)
        await eventually(lambda: is_ready(client))
        first = asyncio.create_task(client.post("/v1/models/colours/load"))
        assert await asyncio.to_thread(began.wait, 20)
        later = [
            asyncio.create_task(client.post(f"/v1/models/{change}"))
            for change in ("tones/unload", "far/unload", "colours/unload?version=1", "far/load", "far/unload")
        ]
        await eventually(lambda: waiting_changes(app) == len(later))
        go.set()
        assert {response.status_code for response in await asyncio.gather(first, *later)} == {200}
        assert model_labels(await client.get("/v1/models")) == ["colours@2"]


async def test_broken_model_prevents_loading_but_no_unloading(
    serve: Serve, tmp_path: Path, keys_file: Path, admin: dict[str, str], engines: dict[str, ColourEngine]
) -> None:
    store = tmp_path / "store"
    colour_store.build(store)
    async with serve(store=store, api_keys_file=keys_file, store_poll_s=0) as client:
        client.headers.update(admin)
        (store / "classifiers" / "far" / "1" / "head.pkl").write_bytes(b"broken")
        assert (await client.post("/v1/models/tones/unload")).status_code == 200
        rejected = await client.post("/v1/models/tones/load")
        assert (rejected.status_code, "far@1" in rejected.json()["detail"]) == (409, True)
        assert "far@1" not in model_labels(await client.post("/v1/models/far/unload"))
        assert model_labels(await client.post("/v1/models/tones/load")) == ["colours@2", "colours@1", "tones@1"]
        assert engines["far_net"].batch_sizes == [], "the network of a hidden model ran"


async def test_folder_deleted_during_verification_is_reported_and_changes_nothing(
    tmp_path: Path, keys_file: Path, admin: dict[str, str], engines: dict[str, ColourEngine]
) -> None:
    store = tmp_path / "store"
    colour_store.build(store)

    def delete_while_loading(settings: Settings, previous: Catalog | None, hidden: ArtifactVersions) -> Catalog:
        if previous:
            artifact = Store(store).classifier("far")
            without_files = replace(artifact, manifest=artifact.manifest.model_copy(update={"files": {}}))
            shutil.rmtree(artifact.folder)
            without_files.verify()
        return colour_store.load_models(settings, previous, hidden, engines=engines)

    app = create_app(Settings(store=store, api_keys_file=keys_file, store_poll_s=0), load_models=delete_while_loading)
    async with running(app) as client:
        client.headers.update(admin)
        await eventually(lambda: is_ready(client))
        rejected = await client.post("/v1/models/tones/load")
        assert (rejected.status_code, rejected.json()["code"]) == (409, "conflict")
        assert "far@1" in rejected.json()["detail"]
        assert "far@1" in model_labels(await client.get("/v1/models"))


@pytest.mark.parametrize("action", ["load", "unload"])
async def test_unknown_model_is_404(serve: Serve, keys_file: Path, admin: dict[str, str], action: str) -> None:
    async with serve(api_keys_file=keys_file) as client:
        assert (await client.post(f"/v1/models/nosuch/{action}", headers=admin)).status_code == 404


@pytest.mark.parametrize("action", ["load", "unload"])
async def test_admin_addresses_need_an_admin_key(
    serve: Serve, keys_file: Path, user: dict[str, str], action: str
) -> None:
    address = f"/v1/models/colours/{action}"
    async with serve(api_keys_file=keys_file) as client:
        assert (await client.post(address)).status_code == 401
        rejected = await client.post(address, headers=user)
        assert (rejected.status_code, rejected.json()["code"]) == (403, "forbidden")
    async with serve() as client:  # without keys there are no admins
        assert (await client.post(address)).status_code == 403
        assert "colours@2" in model_labels(await client.get("/v1/models"))
