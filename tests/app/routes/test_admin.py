"""Loading and unloading while the server runs, and by whom."""

from __future__ import annotations

import asyncio
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from app.auth.keys import Role, add
from app.main import create_app
from app.settings import Settings
from models.artifacts.catalog import Catalog
from models.artifacts.store import Store, Versions
from tests.app.conftest import Serve, eventually, is_ready, running
from tests.support import tiny_app as tiny
from tests.support.encoded_images import encoded
from tests.support.tiny_app import ColourEngine

pytestmark = pytest.mark.anyio

PICTURE = encoded()


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    return tmp_path / "keys"


@pytest.fixture
def admin(keys_file: Path) -> dict[str, str]:
    return {"X-API-Key": add(keys_file, "operator", Role.ADMIN)}


@pytest.fixture
def user(keys_file: Path) -> dict[str, str]:
    return {"X-API-Key": add(keys_file, "laptop", Role.USER)}


def labels(response: httpx.Response) -> list[str]:
    assert response.status_code == 200, response.text
    return [f"{each['name']}@{each['version']}" for each in response.json()["models"]]


async def test_a_model_is_unloaded_and_loaded_again(serve: Serve, keys_file: Path, admin: dict[str, str]) -> None:
    async with serve(api_keys_file=keys_file) as client:
        client.headers.update(admin)
        everything = labels(await client.get("/v1/models"))
        left = labels(await client.post("/v1/models/colours/unload?version=2"))
        assert left == [each for each in everything if each != "colours@2"]
        assert (await client.post("/v1/classify?model=colours", content=PICTURE)).json()["version"] == 1
        assert (await client.post("/v1/classify?model=colours@2", content=PICTURE)).status_code == 404
        assert "colours@1" not in labels(await client.post("/v1/models/colours/unload"))
        assert labels(await client.post("/v1/models/colours/load")) == everything
        assert (await client.post("/v1/classify?model=colours", content=PICTURE)).json()["version"] == 2


async def test_the_last_model_stays(serve: Serve, keys_file: Path, admin: dict[str, str]) -> None:
    async with serve(api_keys_file=keys_file) as client:
        client.headers.update(admin)
        for name in ("colours", "tones"):
            assert (await client.post(f"/v1/models/{name}/unload")).status_code == 200
        refused = await client.post("/v1/models/far/unload")
        assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
        assert labels(await client.get("/v1/models")) == ["far@1"]


async def test_a_default_that_was_set_stays(serve: Serve, keys_file: Path, admin: dict[str, str]) -> None:
    async with serve(api_keys_file=keys_file, default_model="far") as client:
        client.headers.update(admin)
        refused = await client.post("/v1/models/far/unload")
        assert (refused.status_code, "APP_DEFAULT_MODEL" in refused.json()["detail"]) == (409, True)
        assert "far@1" in labels(await client.get("/v1/models"))


async def test_changes_that_come_while_a_store_is_taken_up_are_all_made(
    tiny_store: Path, engines: dict[str, ColourEngine], keys_file: Path, admin: dict[str, str]
) -> None:
    began, go = threading.Event(), threading.Event()

    def slowly(settings: Settings, before: Catalog | None, hidden: Versions) -> Catalog:
        if before:
            began.set()
            assert go.wait(20)
        return tiny.load(settings, before, hidden, engines=engines)

    app = create_app(Settings(store=tiny_store, api_keys_file=keys_file, store_poll_s=0), load_models=slowly)
    async with running(app) as client:
        client.headers.update(admin)
        await eventually(lambda: is_ready(client))
        first = asyncio.create_task(client.post("/v1/models/colours/load"))
        assert await asyncio.to_thread(began.wait, 20)
        more = [
            asyncio.create_task(client.post(f"/v1/models/{change}"))
            for change in ("tones/unload", "far/unload", "colours/unload?version=1", "far/load", "far/unload")
        ]
        await asyncio.sleep(0.1)  # until they wait for the first one
        go.set()
        assert {response.status_code for response in await asyncio.gather(first, *more)} == {200}
        assert labels(await client.get("/v1/models")) == ["colours@2"]


async def test_a_broken_model_is_in_the_way_of_no_unload_its_own_included(
    serve: Serve, tmp_path: Path, keys_file: Path, admin: dict[str, str], engines: dict[str, ColourEngine]
) -> None:
    store = tmp_path / "store"
    tiny.build(store)
    async with serve(store=store, api_keys_file=keys_file, store_poll_s=0) as client:
        client.headers.update(admin)
        (store / "classifiers" / "far" / "1" / "head.pkl").write_bytes(b"broken")
        assert (await client.post("/v1/models/tones/unload")).status_code == 200
        refused = await client.post("/v1/models/tones/load")
        assert (refused.status_code, "far@1" in refused.json()["detail"]) == (409, True)
        assert "far@1" not in labels(await client.post("/v1/models/far/unload"))
        assert labels(await client.post("/v1/models/tones/load")) == ["colours@2", "colours@1", "tones@1"]
        assert engines["far_net"].sizes == [], "the network of a hidden model ran"


async def test_a_folder_that_goes_away_while_it_is_verified_is_told_and_changes_nothing(
    tmp_path: Path, keys_file: Path, admin: dict[str, str], engines: dict[str, ColourEngine]
) -> None:
    store = tmp_path / "store"
    tiny.build(store)

    def late(settings: Settings, before: Catalog | None, hidden: Versions) -> Catalog:
        if before:
            artifact = Store(store).classifier("far")
            nothing = replace(artifact, manifest=artifact.manifest.model_copy(update={"files": {}}))
            shutil.rmtree(artifact.folder)
            nothing.verify()
        return tiny.load(settings, before, hidden, engines=engines)

    app = create_app(Settings(store=store, api_keys_file=keys_file, store_poll_s=0), load_models=late)
    async with running(app) as client:
        client.headers.update(admin)
        await eventually(lambda: is_ready(client))
        refused = await client.post("/v1/models/tones/load")
        assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
        assert "far@1" in refused.json()["detail"]
        assert "far@1" in labels(await client.get("/v1/models"))


@pytest.mark.parametrize("action", ["load", "unload"])
async def test_what_is_not_there_is_404(serve: Serve, keys_file: Path, admin: dict[str, str], action: str) -> None:
    async with serve(api_keys_file=keys_file) as client:
        assert (await client.post(f"/v1/models/nosuch/{action}", headers=admin)).status_code == 404


@pytest.mark.parametrize("action", ["load", "unload"])
async def test_admin_addresses_are_for_admin_keys(
    serve: Serve, keys_file: Path, user: dict[str, str], action: str
) -> None:
    address = f"/v1/models/colours/{action}"
    async with serve(api_keys_file=keys_file) as client:
        assert (await client.post(address)).status_code == 401
        refused = await client.post(address, headers=user)
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    async with serve() as client:  # nobody has one where there are no keys
        assert (await client.post(address)).status_code == 403
        assert "colours@2" in labels(await client.get("/v1/models"))
