"""`POST /v1/classify`."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import pytest

from tests.support.asgi import Serve
from tests.support.colour_engine import ColourEngine
from tests.support.colour_images import COLOURS
from tests.support.encoded_images import encoded

pytestmark = pytest.mark.anyio

IMAGE = encoded("red")
BASE64 = base64.b64encode(IMAGE).decode()

BODIES: dict[str, dict[str, Any]] = {
    "form": {"files": {"file": ("photo.png", IMAGE, "image/png")}},
    "form with the alias": {"files": {"data": ("photo.png", IMAGE)}},
    "form with other fields": {"files": {"file": IMAGE}, "data": {"note": "hello"}},
    "raw": {"content": IMAGE, "headers": {"Content-Type": "image/png"}},
    "raw of another image type": {"content": IMAGE, "headers": {"Content-Type": "image/jpeg"}},
    "octet-stream": {"content": IMAGE, "headers": {"Content-Type": "application/octet-stream"}},
    "no content type, as curl -T": {"content": IMAGE},
    "base64": {"json": {"image": BASE64}},
    "base64 in lines": {"json": {"image": base64.encodebytes(IMAGE).decode()}},
    "data URI": {"json": {"image": f"data:image/png;base64,{BASE64}"}},
}


async def classify(client: httpx.AsyncClient, **params: Any) -> dict[str, Any]:
    response = await client.post("/v1/classify", params=params, content=IMAGE)
    assert response.status_code == 200, response.text
    result: dict[str, Any] = response.json()
    return result


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
async def test_every_kind_of_body_gives_the_same_prediction(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    response = await client.post("/v1/classify", **body)
    assert response.status_code == 200, response.text
    assert response.json()["predictions"] == (await classify(client))["predictions"]


async def test_response_has_the_documented_fields(client: httpx.AsyncClient) -> None:
    result = await classify(client)
    assert list(result) == ["model", "version", "request_id", "predictions", "timing_ms", "batch_size"]
    assert (result["model"], result["version"], result["batch_size"]) == ("colours", 2, 1)
    assert set(result["timing_ms"]) == {"decode", "queue", "inference", "total"}
    best = result["predictions"][0]
    assert (best["label"], best["index"]) == ("red", list(COLOURS).index("red"))
    scores = [prediction["score"] for prediction in result["predictions"]]
    assert len(scores) == 5
    assert scores == sorted(scores, reverse=True)


async def test_total_time_covers_its_parts(client: httpx.AsyncClient) -> None:
    timing = (await classify(client))["timing_ms"]
    assert timing["decode"] + timing["queue"] + timing["inference"] <= timing["total"] + 0.1


async def test_server_timing_header_has_the_same_times(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/classify", content=IMAGE)
    timing = response.json()["timing_ms"]
    assert response.headers["Server-Timing"] == ", ".join(f"{name};dur={ms}" for name, ms in timing.items())


@pytest.mark.parametrize(("top_k", "count"), [(1, 1), (6, 6), (7, 6), (10**20, 6)])
async def test_top_k_is_limited_to_the_number_of_classes(client: httpx.AsyncClient, top_k: int, count: int) -> None:
    assert len((await classify(client, top_k=top_k))["predictions"]) == count


async def test_threshold_may_exclude_every_class(client: httpx.AsyncClient) -> None:
    assert (await classify(client, threshold=1))["predictions"] == []


async def test_threshold_excludes_less_likely_classes(client: httpx.AsyncClient) -> None:
    everything = (await classify(client))["predictions"]
    likely = (await classify(client, threshold=everything[1]["score"]))["predictions"]
    assert likely == everything[:2]


async def test_version_can_be_selected(client: httpx.AsyncClient) -> None:
    assert (await classify(client, model="colours", version=1))["version"] == 1
    assert (await classify(client, model="colours@1"))["version"] == 1
    assert (await classify(client, version=1))["version"] == 1


async def test_results_of_several_models_are_in_the_requested_order(client: httpx.AsyncClient) -> None:
    comparison = await classify(client, model="tones,colours@1,far,tones", top_k=2)
    assert list(comparison) == ["request_id", "results", "timing_ms", "batch_size"]
    assert [(result["model"], result["version"]) for result in comparison["results"]] == [
        ("tones", 1),
        ("colours", 1),
        ("far", 1),
    ]
    assert all(set(result) == {"model", "version", "predictions"} for result in comparison["results"])
    assert all(result["predictions"][0]["label"] == "red" for result in comparison["results"])


async def test_several_models_give_the_results_each_gives_alone(client: httpx.AsyncClient) -> None:
    comparison = await classify(client, model="tones,colours,far")
    for result in comparison["results"]:
        assert (await classify(client, model=result["model"]))["predictions"] == result["predictions"]


@pytest.mark.parametrize(
    ("model", "rows"),
    [("colours@1,colours@2", 1), ("colours,tones", 2), ("colours,tones,colours@1", 2), ("colours,far", 1)],
    ids=["one spec", "two specs", "three models of two specs", "another extractor"],
)
async def test_models_of_one_extractor_and_spec_share_a_row(
    own_client: httpx.AsyncClient, engine: ColourEngine, model: str, rows: int
) -> None:
    await classify(own_client, model=model)
    assert sum(engine.batch_sizes) == rows


async def test_only_the_extractor_of_the_selected_model_runs(
    own_client: httpx.AsyncClient, engine: ColourEngine
) -> None:
    await classify(own_client, model="far")
    assert engine.batch_sizes == []


async def test_default_model_is_a_setting(serve: Serve) -> None:
    async with serve(default_model="tones") as client:
        assert (await classify(client))["model"] == "tones"


async def test_other_image_formats_are_classified(client: httpx.AsyncClient) -> None:
    for kind in ("TIFF", "GIF", "JPEG", "BMP", "WEBP"):
        response = await client.post("/v1/classify", content=encoded("blue", kind))
        assert response.json()["predictions"][0]["label"] == "blue"
