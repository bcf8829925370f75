"""Classifiers whose preprocessing differs in one field: each gets its own pixels, in one request as alone."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from models.preprocess import PreprocessSpec
from tests.support import colour_store
from tests.support.asgi import Serve
from tests.support.colour_engine import ColourEngine
from tests.support.colour_images import SIDE
from tests.support.images import encode

pytestmark = pytest.mark.anyio

SPECS: dict[str, dict[str, Any]] = {
    "usual": {},
    "squeezed": {"crop": "none"},
    "boxed": {"shrink": "box"},
    "enlarged": {"enlarge": "lanczos"},
    "mirrored": {"mirror": True},
    "coarse": {"source": 16},
    "scaled": {"decode_margin": 2},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("store")
    colour_store.build(root)
    for name, fields in SPECS.items():
        spec = PreprocessSpec(**{"size": SIDE, "source": 24, **fields})
        colour_store.add_classifier(root, name, "near_net", preprocess=spec)
    return root


@pytest.fixture(scope="module")
def image() -> bytes:
    """Return a JPEG whose halves, middle and details differ, so that each field of a spec changes the result."""
    y, x = np.mgrid[:200, :300]
    pixels = np.stack([x * 255 // 300, (y // 3 % 2) * 200, ((x // 5 + y // 7) % 3) * 100], axis=2)
    return encode(pixels.astype(np.uint8), "JPEG")


async def scores(client: httpx.AsyncClient, image: bytes, *models: str) -> list[dict[str, float]]:
    response = await client.post("/v1/classify", content=image, params={"model": f"{','.join(models)},", "top_k": 99})
    assert response.status_code == 200, response.text
    results = response.json()["results"]
    assert [result["model"] for result in results] == list(models)
    return [{each["label"]: each["score"] for each in result["predictions"]} for result in results]


async def test_each_model_gets_the_pixels_of_its_own_spec(serve: Serve, store: Path, image: bytes) -> None:
    async with serve(store=store) as client:
        alone = {name: (await scores(client, image, name))[0] for name in SPECS}
        for one, other in itertools.combinations(SPECS, 2):
            assert alone[one] != alone[other], "the specs could be confused"
            assert await scores(client, image, one, other) == [alone[one], alone[other]]
        assert await scores(client, image, *SPECS) == list(alone.values())
        assert await scores(client, image, *reversed(SPECS)) == list(reversed(alone.values()))


async def test_requests_in_one_batch_get_the_pixels_of_their_own_specs(
    serve: Serve, engine: ColourEngine, store: Path, image: bytes
) -> None:
    async with serve(store=store) as client:
        alone = {name: (await scores(client, image, name))[0] for name in SPECS}
        engine.unblocked.clear()
        requests = [asyncio.create_task(scores(client, image, name)) for name in SPECS]
        await asyncio.to_thread(engine.batch_started.acquire)
        engine.unblocked.set()
        assert [each for (each,) in await asyncio.gather(*requests)] == list(alone.values())


@pytest.mark.parametrize("name", [name for name in SPECS if name != "usual"])
async def test_specs_that_differ_share_no_row(
    serve: Serve, engine: ColourEngine, store: Path, image: bytes, name: str
) -> None:
    async with serve(store=store) as client:
        await scores(client, image, "usual", name)
        rows = 3 if name == "mirrored" else 2  # the mirror image is one more
        assert engine.image_count == rows
