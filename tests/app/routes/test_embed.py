"""`POST /v1/embed`."""

from __future__ import annotations

import asyncio
from io import BytesIO
from typing import Any

import httpx
import numpy as np
import pytest

from models.arrays import Floats
from models.preprocess import PreprocessSpec, preprocess
from tests.support.asgi import Serve, post_image, wait_for_queued
from tests.support.colour_engine import ColourEngine, mean_colours
from tests.support.encoded_images import decoded_pixels, encoded

pytestmark = pytest.mark.anyio

IMAGE = encoded("green", size=(40, 30))


async def embed(client: httpx.AsyncClient, accept: str | None = None, **query: Any) -> httpx.Response:
    headers = {"Accept": accept} if accept else {}
    return await client.post("/v1/embed", content=IMAGE, params=query, headers=headers)


def expected_features(spec: PreprocessSpec) -> Floats:
    (features,) = mean_colours(preprocess(decoded_pixels(IMAGE), spec)[None])
    return np.asarray(features)


async def test_features_are_those_of_the_preprocessed_image(client: httpx.AsyncClient) -> None:
    response = (await embed(client)).json()
    assert set(response) == {"extractor", "version", "request_id", "features", "timing_ms", "batch_size"}
    assert (response["extractor"], response["version"]) == ("near_net", 1)
    np.testing.assert_allclose(response["features"], expected_features(PreprocessSpec(size=32)), atol=1e-6)
    blurred = (await embed(client, model="tones")).json()["features"]
    np.testing.assert_allclose(blurred, expected_features(PreprocessSpec(size=32, source=16)), atol=1e-6)
    assert (await embed(client, model="far")).json()["extractor"] == "far_net"


@pytest.mark.parametrize("accept", [None, "*/*", "text/html, */*;q=0.1", "application/json"])
async def test_json_is_the_default_format(client: httpx.AsyncClient, accept: str | None) -> None:
    assert (await embed(client, accept)).headers["Content-Type"] == "application/json"


async def test_bytes_and_npy_hold_the_same_features(client: httpx.AsyncClient) -> None:
    features = np.array((await embed(client)).json()["features"], np.float32)
    raw = await embed(client, "application/octet-stream")
    assert raw.headers["Content-Type"] == "application/octet-stream"
    np.testing.assert_array_equal(np.frombuffer(raw.content, "<f4"), features)
    npy = await embed(client, "application/x-npy, */*")
    assert npy.headers["Content-Type"] == "application/x-npy"
    np.testing.assert_array_equal(np.load(BytesIO(npy.content), allow_pickle=False), features)
    assert {response.headers["Vary"] for response in (raw, npy)} == {"Accept"}
    assert "inference;dur=" in raw.headers["Server-Timing"]


async def test_features_share_a_batch_with_classifiers(serve: Serve, engine: ColourEngine) -> None:
    async with serve() as client:
        engine.unblocked.clear()
        running = asyncio.create_task(embed(client))
        await asyncio.to_thread(engine.batch_started.acquire)
        queued = [asyncio.create_task(embed(client)), post_image(client, IMAGE)]
        await wait_for_queued(client, 2)
        engine.unblocked.set()
        assert [response.status_code for response in await asyncio.gather(running, *queued)] == [200] * 3
        assert engine.batch_sizes == [1, 2]


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ({"model": "none"}, 404, "model_not_found"),
        ({"model": "tones,far"}, 422, "bad_parameter"),
        ({"model": "colours", "version": 9}, 404, "model_not_found"),
    ],
)
async def test_unknown_or_ambiguous_model_is_an_error(
    client: httpx.AsyncClient, query: dict[str, Any], status: int, code: str
) -> None:
    response = await embed(client, **query)
    assert (response.status_code, response.json()["code"]) == (status, code)


async def test_error_is_a_problem_whatever_format_is_accepted(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/embed", content=IMAGE[:60], headers={"Accept": "application/octet-stream"})
    assert response.status_code == 422
    assert response.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("*/*", "application/json"),
        ("application/*", "application/json"),
        ("text/html", "application/json"),
        ("application/octet-stream;q=0.5, application/x-npy", "application/x-npy"),
        ("application/octet-stream;q=0.5, application/x-npy;q=0.4", "application/octet-stream"),
        ("application/x-npy;q=0, application/octet-stream;q=0.1", "application/octet-stream"),
        ("application/x-npy;q=0", "application/json"),
        ("application/json;q=0.9, application/x-npy;q=wrong", "application/json"),
        ("APPLICATION/X-NPY ; q=1", "application/x-npy"),
        ("," * 10_000 + "application/x-npy", "application/json"),
    ],
)
async def test_format_of_the_highest_quality_is_chosen(
    client: httpx.AsyncClient, accept: str, content_type: str
) -> None:
    response = await client.post("/v1/embed", content=IMAGE, headers={"Accept": accept})
    assert response.headers["Content-Type"] == content_type
