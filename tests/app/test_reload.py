"""A store that changes while the server runs."""

from __future__ import annotations

import asyncio
import shutil
import signal
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.app import tiny
from tests.app.conftest import Serve, eventually
from tests.app.pictures import encoded
from tests.app.processes import get, post, server
from tests.app.tiny import ColourEngine

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


@pytest.mark.parametrize("damage", ["flip", "missing", "extra", "swap"])
async def test_a_store_that_cannot_be_used_is_refused_and_the_old_models_go_on(
    serve: Serve, store: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serve(store=store, store_poll_s=0.05) as client:
        folder = store / "classifiers" / "tones" / "1"
        head = folder / "head.pkl"
        if damage == "flip":
            data = bytearray(head.read_bytes())
            data[100] ^= 1
            head.write_bytes(data)
        elif damage == "missing":
            head.unlink()
        elif damage == "extra":
            (folder / "more.bin").write_bytes(b"x")
        else:
            shutil.copy(store / "classifiers" / "far" / "1" / "golden.npz", folder / "golden.npz")
            (folder / "golden.npz").write_bytes(b"swapped")
        logged = ""

        async def refused() -> bool:
            nonlocal logged
            logged += capsys.readouterr().out
            return "was not taken up" in logged

        await asyncio.wait_for(eventually(refused), 20)
        assert "tones" in logged
        for model in ("tones", "colours", "far"):
            answer = await client.post("/v1/classify", content=PICTURE, params={"model": model})
            assert answer.status_code == 200


async def test_what_is_still_being_copied_is_left_until_it_rests(serve: Serve, store: Path) -> None:
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


async def test_nothing_is_left_behind_by_many_reloads(serve: Serve, store: Path) -> None:
    async with serve(store=store, store_poll_s=0.02) as client:
        before = {thread.name for thread in threading.enumerate()}
        for version in range(2, 6):
            await asyncio.to_thread(add, store)

            async def there(wanted: str = f"far@{version}") -> bool:
                return wanted in await names(client)

            await asyncio.wait_for(eventually(there), 20)
            assert (await client.post("/v1/classify", content=PICTURE)).status_code == 200
        after = [thread.name for thread in threading.enumerate() if thread.name.startswith("engine-")]
        assert sorted(after) == sorted(name for name in before if name.startswith("engine-"))


def test_sighup_makes_a_server_look_at_once(store: Path) -> None:
    with server("tests.app.tiny_server", APP_STORE=str(store), APP_STORE_POLL_S="0") as started:
        address = started.address()
        add(store)
        started.process.send_signal(signal.SIGHUP)
        started.wait_for_log("Took up the changed store")
        models: list[dict[str, Any]] = get(address, "/v1/models").json["models"]
        assert "far@2" in [f"{model['name']}@{model['version']}" for model in models]
        assert post(address, PICTURE).status == 200
        started.terminate()
        assert started.exit_code() == 0
