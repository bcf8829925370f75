"""A store with a corrupted, missing, extra or swapped file is not served, neither at startup nor on a reload."""

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
from models.artifacts.catalog import Catalog
from models.artifacts.store import MANIFEST_FILE, ArtifactVersions
from models.errors import ArtifactsRejected, CorruptArtifact
from models.manifests import WEIGHTS_FILE, ExtractorManifest, parse, render
from tests.support import colour_store
from tests.support.asgi import Serve, is_ready, running
from tests.support.colour_engine import ColourEngine
from tests.support.encoded_images import encoded
from tests.support.polling import eventually

pytestmark = pytest.mark.anyio

IMAGE = encoded("red")
TONES = Path("classifiers", "tones", "1")


def corrupt_head(store: Path) -> None:
    head = store / TONES / "head.pkl"
    data = bytearray(head.read_bytes())
    data[len(data) // 2] ^= 1
    head.write_bytes(data)


def remove_golden(store: Path) -> None:
    (store / TONES / "golden.npz").unlink()


def add_file(store: Path) -> None:
    (store / TONES / "more.bin").write_bytes(b"x")


def swap_heads(store: Path) -> None:
    """Exchange the intact heads of two classifiers."""
    first, second = store / TONES / "head.pkl", store / "classifiers" / "colours" / "2" / "head.pkl"
    aside = store / "aside"
    first.rename(aside)
    second.rename(first)
    aside.rename(second)


def omit_weights(store: Path) -> None:
    """Write a manifest with a valid digest that does not list the weights, which are required."""
    path = store / "extractors" / "far_net" / "1" / MANIFEST_FILE
    manifest = parse(path.read_bytes(), ExtractorManifest)
    files = {file: digest for file, digest in manifest.files.items() if file != WEIGHTS_FILE}
    path.write_bytes(render(manifest.model_copy(update={"files": files})))


DAMAGES = pytest.mark.parametrize(
    ("damage", "why"),
    [
        (corrupt_head, "tones@1 in .*: head.pkl was changed"),
        (remove_golden, "tones@1 in .*: golden.npz is missing"),
        (add_file, "tones@1 in .*: more.bin is not listed in its manifest"),
        (swap_heads, "(tones@1|colours@2) in .*: head.pkl was changed"),
        (omit_weights, ".*far_net/1: its manifest does not list weights.safetensors"),
    ],
    ids=["corrupted", "missing", "extra", "swapped", "without weights"],
)
Damage = Callable[[Path], None]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    colour_store.build(tmp_path)
    return tmp_path


@DAMAGES
async def test_damaged_store_is_not_served_at_startup(
    store: Path, engines: dict[str, ColourEngine], damage: Damage, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(store)
    failed = asyncio.Event()
    loader = functools.partial(colour_store.load_models, engines=engines)
    async with running(create_app(Settings(store=store), load_models=loader, on_failure=failed.set)) as client:
        await asyncio.wait_for(failed.wait(), 20)
        assert not await is_ready(client)
        assert (await client.post("/v1/classify", content=IMAGE)).status_code == 503
    log = capsys.readouterr().out
    assert re.search(f"Cannot load {why}", log)
    assert "Traceback" not in log


@DAMAGES
async def test_store_damaged_later_is_not_reloaded_and_the_old_models_serve_on(
    serve: Serve, store: Path, damage: Damage, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serve(store=store, store_poll_s=0.05) as client:
        before = await classify_with_each(client)
        damage(store)
        log = ""

        async def has_failed() -> bool:
            nonlocal log
            log += capsys.readouterr().out
            return "Model store reload failed; still serving the previous models" in log

        await asyncio.wait_for(eventually(has_failed), 20)
        assert re.search(f"Cannot load {why}", log)
        assert await classify_with_each(client) == before


async def test_every_rejected_artifact_has_a_line_of_its_own(
    store: Path, engines: dict[str, ColourEngine], capsys: pytest.CaptureFixture[str]
) -> None:
    reasons = [CorruptArtifact(f"Cannot load {name}@1.") for name in ("first", "second")]

    def load(settings: Settings, before: Catalog | None, hidden: ArtifactVersions) -> Catalog:
        if before:
            raise ArtifactsRejected(reasons)
        return colour_store.load_models(settings, before, hidden, engines=engines)

    async with running(create_app(Settings(store=store, store_poll_s=0.05), load_models=load)) as client:
        await eventually(lambda: is_ready(client))
        capsys.readouterr()
        add_file(store)
        log = ""

        async def has_failed() -> bool:
            nonlocal log
            log += capsys.readouterr().out
            return "second@1" in log

        await asyncio.wait_for(eventually(has_failed), 20)
    lines = [line for line in log.splitlines() if "Model store reload failed" in line]
    assert [f"{name}@1" in line for name, line in zip(("first", "second"), lines, strict=True)] == [True, True]


async def classify_with_each(client: httpx.AsyncClient) -> list[tuple[int, object]]:
    """Return the version and the predictions of two models; raises KeyError if one does not respond."""
    results = []
    for name in ("tones", "colours"):
        result = (await client.post("/v1/classify", content=IMAGE, params={"model": name})).json()
        results.append((result["version"], result["predictions"]))
    return results
