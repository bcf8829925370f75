"""Reloads of a store that changes while the server runs."""

from __future__ import annotations

import asyncio
import shutil
import signal
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.inference.model_manager import ModelManager
from app.main import create_app
from app.settings import Settings
from models.artifacts.catalog import Catalog
from models.artifacts.store import ArtifactVersions, Store
from tests.support import colour_store
from tests.support.asgi import Serve, app_of, block_engine, is_ready, running
from tests.support.colour_engine import ColourEngine
from tests.support.encoded_images import encoded
from tests.support.polling import eventually
from tests.support.processes import get, post, server

pytestmark = pytest.mark.anyio

IMAGE = encoded("red")
CLASSIFY_FAR = "/v1/classify?model=far"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    colour_store.build(tmp_path)
    return tmp_path


def add_far(store: Path) -> None:
    """Save one more version of `far`."""
    colour_store.add_classifier(store, "far", "far_net")


async def served_models(client: httpx.AsyncClient) -> list[str]:
    models = (await client.get("/v1/models")).json()["models"]
    return [f"{model['name']}@{model['version']}" for model in models]


async def wait_for_models(client: httpx.AsyncClient, condition: Callable[[list[str]], bool]) -> None:
    """Wait until the served models satisfy a condition."""

    async def holds() -> bool:
        return condition(await served_models(client))

    await asyncio.wait_for(eventually(holds), 20)


def manager_of(client: httpx.AsyncClient) -> ModelManager:
    manager: ModelManager = app_of(client).state.app_state.manager
    return manager


def engine_threads() -> list[str]:
    return sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("engine-"))


async def test_added_model_is_served_without_a_restart(serve: Serve, store: Path) -> None:
    async with serve(store=store, store_poll_s=0.05) as client:
        assert await served_models(client) == ["colours@2", "colours@1", "far@1", "tones@1"]
        await asyncio.to_thread(add_far, store)
        await wait_for_models(client, lambda models: "far@2" in models)
        result = (await client.post(CLASSIFY_FAR, content=IMAGE)).json()
        assert (result["version"], result["predictions"][0]["label"]) == (2, "red")
        assert 'model="far",version="2"' in (await client.get("/metrics")).text


async def test_removed_model_is_gone_from_responses_and_metrics(serve: Serve, store: Path) -> None:
    async with serve(store=store, store_poll_s=0.05) as client:
        shutil.rmtree(store / "classifiers" / "tones")
        await wait_for_models(client, lambda models: "tones@1" not in models)
        assert (await client.post("/v1/classify", content=IMAGE, params={"model": "tones"})).status_code == 404
        assert 'model="tones"' not in (await client.get("/metrics")).text


async def test_requests_before_and_during_a_reload_succeed(
    serve: Serve, store: Path, engines: dict[str, ColourEngine]
) -> None:
    async with serve(store=store, store_poll_s=0.05) as client:
        earlier = await block_engine(engines["far_net"], client, IMAGE, CLASSIFY_FAR)
        statuses = []
        await asyncio.to_thread(add_far, store)
        while "far@2" not in await served_models(client):
            statuses.append((await client.post("/v1/classify", content=IMAGE)).status_code)
        statuses += [(await client.post("/v1/classify", content=IMAGE)).status_code for _ in range(20)]
        engines["far_net"].unblocked.set()
        response = await asyncio.wait_for(earlier, 20)
        assert (response.status_code, response.json()["version"]) == (200, 1)
        assert set(statuses) == {200}


async def test_artifact_is_not_loaded_while_it_is_being_copied(
    serve: Serve, store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    add_far(store)
    added = store / "classifiers" / "far" / "2"
    aside = store / "aside"
    added.rename(aside)
    files, fingerprint = sorted(aside.iterdir()), Store.fingerprint

    def copy_file_before(checked: Store) -> object:
        if added.exists() and files:
            shutil.copy(files.pop(0), added)
        return fingerprint(checked)

    monkeypatch.setattr(Store, "fingerprint", copy_file_before)
    async with serve(store=store, store_poll_s=0.01) as client:
        added.mkdir()
        await wait_for_models(client, lambda models: "far@2" in models)
    assert "Model store reload failed" not in capsys.readouterr().out, "an incomplete artifact was loaded"


async def test_unneeded_engine_ends_after_its_last_request(
    serve: Serve, store: Path, engines: dict[str, ColourEngine]
) -> None:
    async with serve(store=store, store_poll_s=0.05) as client:
        running_request = await block_engine(engines["far_net"], client, IMAGE, CLASSIFY_FAR)
        shutil.rmtree(store / "classifiers" / "far")
        await wait_for_models(client, lambda models: "far@1" not in models)
        colour_store.add_classifier(store, "tones", "near_net")  # a second reload while the first service is in use
        await wait_for_models(client, lambda models: "tones@2" in models)
        assert engine_threads() == ["engine-far_net", "engine-near_net"]
        engines["far_net"].unblocked.set()
        assert (await asyncio.wait_for(running_request, 20)).status_code == 200

        async def has_ended() -> bool:
            return engine_threads() == ["engine-near_net"]

        await asyncio.wait_for(eventually(has_ended), 20)
        assert 'classifier_queue_depth{extractor="far_net"}' not in (await client.get("/metrics")).text


async def test_upload_that_began_two_reloads_ago_is_classified(serve: Serve, store: Path) -> None:
    async with serve(store=store, store_poll_s=0.05) as client:
        go = asyncio.Event()

        async def stalled_body() -> AsyncIterator[bytes]:
            yield IMAGE[:50]
            await go.wait()
            yield IMAGE[50:]

        upload = asyncio.create_task(client.post(CLASSIFY_FAR, content=stalled_body()))
        await eventually(lambda: manager_of(client)._current._leases == 1)  # type: ignore[union-attr]
        colour_store.add_classifier(store, "tones", "near_net")
        await wait_for_models(client, lambda models: "tones@2" in models)
        shutil.rmtree(store / "classifiers" / "far")
        await wait_for_models(client, lambda models: "far@1" not in models)
        for _ in range(100):
            await asyncio.sleep(0)  # a service that nothing held would be closed now
        assert len(manager_of(client)._retired) == 2
        go.set()
        assert (await asyncio.wait_for(upload, 20)).status_code == 200


async def test_change_during_the_first_load_is_reloaded_after_it(store: Path, engines: dict[str, ColourEngine]) -> None:
    began, go = threading.Event(), threading.Event()

    def load_slowly(settings: Settings, previous: Catalog | None, hidden: ArtifactVersions) -> Catalog:
        catalog = colour_store.load_models(settings, previous, hidden, engines=engines)
        began.set()
        assert go.wait(20)
        return catalog

    app = create_app(Settings(store=store, store_poll_s=0.05), load_models=load_slowly)
    async with running(app) as client:
        await asyncio.to_thread(began.wait, 20)
        add_far(store)
        go.set()
        await eventually(lambda: is_ready(client))
        await wait_for_models(client, lambda models: "far@2" in models)


async def test_many_reloads_leave_no_threads_behind(serve: Serve, store: Path) -> None:
    others = engine_threads()
    async with serve(store=store, store_poll_s=0.02) as client:
        before = engine_threads()
        for version in range(2, 6):
            await asyncio.to_thread(add_far, store)
            await wait_for_models(client, lambda models, label=f"far@{version}": label in models)  # type: ignore[misc]
            assert (await client.post("/v1/classify", content=IMAGE)).status_code == 200
        assert engine_threads() == before
    assert engine_threads() == others


async def test_shutdown_ends_retired_services_too(serve: Serve, store: Path, engines: dict[str, ColourEngine]) -> None:
    others = engine_threads()
    async with serve(store=store, store_poll_s=0.05) as client:
        running_request = await block_engine(engines["far_net"], client, IMAGE, CLASSIFY_FAR)
        shutil.rmtree(store / "classifiers" / "far")
        await wait_for_models(client, lambda models: "far@1" not in models)
        engines["far_net"].unblocked.set()
        assert (await running_request).status_code == 200
    assert engine_threads() == others


def test_sighup_reloads_the_store_at_once(store: Path) -> None:
    with server("tests.support.tiny_server", APP_STORE=str(store), APP_STORE_POLL_S="0") as process:
        address = process.address()
        add_far(store)
        process.process.send_signal(signal.SIGHUP)
        process.wait_for_log("Reloaded the model store")
        models: list[dict[str, Any]] = get(address, "/v1/models").json["models"]
        assert "far@2" in [f"{model['name']}@{model['version']}" for model in models]
        assert post(address, IMAGE).status == 200
        process.terminate()
        assert process.exit_code() == 0
