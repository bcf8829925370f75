"""A store that changes while the server runs."""

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

from app.main import create_app
from app.settings import Settings
from models.artifacts.catalog import Catalog
from models.artifacts.store import Versions
from tests.app.conftest import Serve, eventually, is_ready, running
from tests.support import tiny_app as tiny
from tests.support.encoded_images import encoded
from tests.support.processes import get, post, server
from tests.support.tiny_app import ColourEngine

pytestmark = pytest.mark.anyio

PICTURE = encoded("red")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    tiny.build(tmp_path)
    return tmp_path


async def names(client: httpx.AsyncClient) -> list[str]:
    models = (await client.get("/v1/models")).json()["models"]
    return [f"{model['name']}@{model['version']}" for model in models]


def add(store: Path) -> None:
    """One more version of `far`."""
    tiny.add_classifier(store, "far", "far_net")


async def test_a_model_that_is_added_is_served_without_a_restart(serve: Serve, store: Path) -> None:
    async with serve(store=store, store_poll_s=0.05) as client:
        assert await names(client) == ["colours@2", "colours@1", "far@1", "tones@1"]
        await asyncio.to_thread(add, store)

        async def there() -> bool:
            return "far@2" in await names(client)

        await asyncio.wait_for(eventually(there), 20)
        answer = await client.post("/v1/classify", content=PICTURE, params={"model": "far"})
        assert (answer.json()["version"], answer.json()["predictions"][0]["label"]) == (2, "red")
        assert 'model="far",version="2"' in (await client.get("/metrics")).text


async def test_a_model_that_is_removed_is_gone_from_answers_and_metrics(serve: Serve, store: Path) -> None:
    async with serve(store=store, store_poll_s=0.05) as client:
        shutil.rmtree(store / "classifiers" / "tones")

        async def gone() -> bool:
            return "tones@1" not in await names(client)

        await asyncio.wait_for(eventually(gone), 20)
        assert (await client.post("/v1/classify", content=PICTURE, params={"model": "tones"})).status_code == 404
        assert 'model="tones"' not in (await client.get("/metrics")).text


async def test_requests_that_came_before_finish_and_none_fails_meanwhile(
    serve: Serve, store: Path, engines: dict[str, ColourEngine]
) -> None:
    async with serve(store=store, store_poll_s=0.05) as client:
        engines["far_net"].go.clear()
        held = asyncio.create_task(client.post("/v1/classify", content=PICTURE, params={"model": "far"}))
        await asyncio.to_thread(engines["far_net"].began.acquire)
        statuses = []
        await asyncio.to_thread(add, store)
        while "far@2" not in await names(client):
            statuses.append((await client.post("/v1/classify", content=PICTURE)).status_code)
        statuses += [(await client.post("/v1/classify", content=PICTURE)).status_code for _ in range(20)]
        engines["far_net"].go.set()
        answer = await asyncio.wait_for(held, 20)
        assert (answer.status_code, answer.json()["version"]) == (200, 1)
        assert set(statuses) == {200}


async def test_what_is_still_being_copied_is_left_until_it_rests(
    serve: Serve, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add(store)
    added = store / "classifiers" / "far" / "2"
    aside = store / "aside"
    added.rename(aside)
    async with serve(store=store, store_poll_s=0.3) as client:
        added.mkdir()
        for file in sorted(aside.iterdir()):
            shutil.copy(file, added / file.name)
            await asyncio.sleep(0.2)

        async def there() -> bool:
            return "far@2" in await names(client)

        await asyncio.wait_for(eventually(there), 20)
    assert "was not taken up" not in capsys.readouterr().out, "half an artifact was looked at"


def engine_threads() -> list[str]:
    return sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("engine-"))


async def test_an_engine_that_is_no_longer_needed_ends_after_its_last_request(
    serve: Serve, store: Path, engines: dict[str, ColourEngine]
) -> None:
    async with serve(store=store, store_poll_s=0.05) as client:
        engines["far_net"].go.clear()
        held = asyncio.create_task(client.post("/v1/classify", content=PICTURE, params={"model": "far"}))
        await asyncio.to_thread(engines["far_net"].began.acquire)
        shutil.rmtree(store / "classifiers" / "far")
        await until(client, lambda names: "far@1" not in names)
        tiny.add_classifier(store, "tones", "near_net")  # a second reload, while the first service is still used
        await until(client, lambda names: "tones@2" in names)
        assert engine_threads() == ["engine-far_net", "engine-near_net"]
        engines["far_net"].go.set()
        assert (await asyncio.wait_for(held, 20)).status_code == 200

        async def ended() -> bool:
            return engine_threads() == ["engine-near_net"]

        await asyncio.wait_for(eventually(ended), 20)
        assert 'classifier_queue_depth{extractor="far_net"}' not in (await client.get("/metrics")).text


async def test_an_upload_that_began_two_reloads_ago_is_still_answered(serve: Serve, store: Path) -> None:
    async with serve(store=store, store_poll_s=0.05) as client:
        go = asyncio.Event()

        async def slowly() -> AsyncIterator[bytes]:
            yield PICTURE[:50]
            await go.wait()
            yield PICTURE[50:]

        held = asyncio.create_task(client.post("/v1/classify", content=slowly(), params={"model": "far"}))
        await asyncio.sleep(0.1)
        tiny.add_classifier(store, "tones", "near_net")
        await until(client, lambda names: "tones@2" in names)
        shutil.rmtree(store / "classifiers" / "far")
        await until(client, lambda names: "far@1" not in names)
        await asyncio.sleep(0.2)
        go.set()
        assert (await asyncio.wait_for(held, 20)).status_code == 200


async def test_what_changes_during_the_first_load_is_taken_up_after_it(
    store: Path, engines: dict[str, ColourEngine]
) -> None:
    began, go = threading.Event(), threading.Event()

    def slowly(settings: Settings, before: Catalog | None, hidden: Versions) -> Catalog:
        loaded = tiny.load(settings, before, hidden, engines=engines)
        began.set()
        assert go.wait(20)
        return loaded

    async with running(create_app(Settings(store=store, store_poll_s=0.05), load_models=slowly)) as client:
        await asyncio.to_thread(began.wait, 20)
        add(store)
        await asyncio.sleep(0.3)
        go.set()
        await eventually(lambda: is_ready(client))
        await until(client, lambda names: "far@2" in names)


async def until(client: httpx.AsyncClient, holds: Callable[[list[str]], bool]) -> None:
    async def held() -> bool:
        return holds(await names(client))

    await asyncio.wait_for(eventually(held), 20)


async def test_nothing_is_left_behind_by_many_reloads(serve: Serve, store: Path) -> None:
    others = engine_threads()
    async with serve(store=store, store_poll_s=0.02) as client:
        before = engine_threads()
        for version in range(2, 6):
            await asyncio.to_thread(add, store)
            await until(client, lambda names, wanted=f"far@{version}": wanted in names)  # type: ignore[misc]
            assert (await client.post("/v1/classify", content=PICTURE)).status_code == 200
        assert engine_threads() == before
    assert engine_threads() == others


async def test_a_server_that_ends_takes_an_old_service_with_it(
    serve: Serve, store: Path, engines: dict[str, ColourEngine]
) -> None:
    others = engine_threads()
    async with serve(store=store, store_poll_s=0.05) as client:
        engines["far_net"].go.clear()
        held = asyncio.create_task(client.post("/v1/classify", content=PICTURE, params={"model": "far"}))
        await asyncio.to_thread(engines["far_net"].began.acquire)
        shutil.rmtree(store / "classifiers" / "far")
        await until(client, lambda names: "far@1" not in names)
        engines["far_net"].go.set()
        assert (await held).status_code == 200
    assert engine_threads() == others


def test_sighup_makes_a_server_look_at_once(store: Path) -> None:
    with server("tests.support.tiny_server", APP_STORE=str(store), APP_STORE_POLL_S="0") as started:
        address = started.address()
        add(store)
        started.process.send_signal(signal.SIGHUP)
        started.wait_for_log("Took up the changed store")
        models: list[dict[str, Any]] = get(address, "/v1/models").json["models"]
        assert "far@2" in [f"{model['name']}@{model['version']}" for model in models]
        assert post(address, PICTURE).status == 200
        started.terminate()
        assert started.exit_code() == 0
