"""A store with a corrupted, missing, extra or swapped file is refused: at the start, and when it is damaged later."""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from app.main import create_app
from app.settings import Settings
from models.artifacts.store import MANIFEST_FILE
from models.manifests import WEIGHTS_FILE, ExtractorManifest, parse, render
from tests.app.conftest import Serve, eventually, is_ready, running
from tests.support import tiny_app as tiny
from tests.support.encoded_images import encoded
from tests.support.tiny_app import ColourEngine

pytestmark = pytest.mark.anyio

PICTURE = encoded("red")
TONES = Path("classifiers", "tones", "1")


def corrupt(store: Path) -> None:
    head = store / TONES / "head.pkl"
    data = bytearray(head.read_bytes())
    data[len(data) // 2] ^= 1
    head.write_bytes(data)


def remove(store: Path) -> None:
    (store / TONES / "golden.npz").unlink()


def add(store: Path) -> None:
    (store / TONES / "more.bin").write_bytes(b"x")


def swap(store: Path) -> None:
    """Two files that are whole, each in the place of the other."""
    one, other = store / TONES / "head.pkl", store / "classifiers" / "colours" / "2" / "head.pkl"
    aside = store / "aside"
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


def forget_weights(store: Path) -> None:
    """A manifest whose digest is right, and that leaves out what it cannot be without."""
    place = store / "extractors" / "far_net" / "1" / MANIFEST_FILE
    manifest = parse(place.read_bytes(), ExtractorManifest)
    files = {file: digest for file, digest in manifest.files.items() if file != WEIGHTS_FILE}
    place.write_bytes(render(manifest.model_copy(update={"files": files})))


DAMAGES = pytest.mark.parametrize(
    ("damage", "why"),
    [
        (corrupt, "tones@1 in .*: head.pkl was changed"),
        (remove, "tones@1 in .*: golden.npz is missing"),
        (add, "tones@1 in .*: more.bin does not belong there"),
        (swap, "(tones@1|colours@2) in .*: head.pkl was changed"),
        (forget_weights, ".*far_net/1: its manifest names no weights.safetensors"),
    ],
    ids=["corrupted", "missing", "extra", "swapped", "without weights"],
)
Damage = Callable[[Path], None]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    tiny.build(tmp_path)
    return tmp_path


@DAMAGES
async def test_a_damaged_store_is_refused_at_the_start(
    store: Path, engines: dict[str, ColourEngine], damage: Damage, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(store)
    failed = asyncio.Event()
    loader = functools.partial(tiny.load, engines=engines)
    async with running(create_app(Settings(store=store), load_models=loader, on_failure=failed.set)) as client:
        await asyncio.wait_for(failed.wait(), 20)
        assert not await is_ready(client)
        assert (await client.post("/v1/classify", content=PICTURE)).status_code == 503
    logged = capsys.readouterr().out
    assert re.search(f"Refusing {why}", logged)
    assert "Traceback" not in logged


@DAMAGES
async def test_a_store_that_is_damaged_later_is_refused_and_the_old_models_go_on(
    serve: Serve, store: Path, damage: Damage, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serve(store=store, store_poll_s=0.05) as client:
        before = await scores(client)
        damage(store)
        logged = ""

        async def refused() -> bool:
            nonlocal logged
            logged += capsys.readouterr().out
            return "was not taken up" in logged

        await asyncio.wait_for(eventually(refused), 20)
        assert re.search(f"Refusing {why}", logged)
        assert await scores(client) == before


async def scores(client: httpx.AsyncClient) -> list[object]:
    """What each model that was there says; raises KeyError where one does not answer."""
    asked = [client.post("/v1/classify", content=PICTURE, params={"model": name}) for name in ("tones", "colours")]
    return [(answer["version"], answer["predictions"]) for answer in [(await each).json() for each in asked]]
