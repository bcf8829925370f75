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

PICTURE = encoded("red")
BASE64 = base64.b64encode(PICTURE).decode()

BODIES: dict[str, dict[str, Any]] = {
    "form": {"files": {"file": ("photo.png", PICTURE, "image/png")}},
    "form with the alias": {"files": {"data": ("photo.png", PICTURE)}},
    "form with other fields": {"files": {"file": PICTURE}, "data": {"note": "hello"}},
    "raw": {"content": PICTURE, "headers": {"Content-Type": "image/png"}},
    "raw of another image type": {"content": PICTURE, "headers": {"Content-Type": "image/jpeg"}},
    "octet-stream": {"content": PICTURE, "headers": {"Content-Type": "application/octet-stream"}},
    "no content type, as curl -T": {"content": PICTURE},
    "base64": {"json": {"image": BASE64}},
    "base64 in lines": {"json": {"image": base64.encodebytes(PICTURE).decode()}},
    "data URI": {"json": {"image": f"data:image/png;base64,{BASE64}"}},
}


async def ask(client: httpx.AsyncClient, **params: Any) -> dict[str, Any]:
    response = await client.post("/v1/classify", params=params, content=PICTURE)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
async def test_every_form_of_body_gives_the_same_prediction(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    response = await client.post("/v1/classify", **body)
    assert response.status_code == 200, response.text
    assert response.json()["predictions"] == (await ask(client))["predictions"]


async def test_answer_has_the_documented_shape(client: httpx.AsyncClient) -> None:
    answer = await ask(client)
    assert list(answer) == ["model", "version", "request_id", "predictions", "timing_ms", "batch_size"]
    assert (answer["model"], answer["version"], answer["batch_size"]) == ("colours", 2, 1)
    assert set(answer["timing_ms"]) == {"decode", "queue", "inference", "total"}
    best = answer["predictions"][0]
    assert (best["label"], best["index"]) == ("red", list(COLOURS).index("red"))
    scores = [prediction["score"] for prediction in answer["predictions"]]
    assert len(scores) == 5
    assert scores == sorted(scores, reverse=True)


async def test_total_time_covers_its_parts(client: httpx.AsyncClient) -> None:
    timing = (await ask(client))["timing_ms"]
    assert timing["decode"] + timing["queue"] + timing["inference"] <= timing["total"] + 0.1


async def test_server_timing_tells_browsers_the_same(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/classify", content=PICTURE)
    timing = response.json()["timing_ms"]
    assert response.headers["Server-Timing"] == ", ".join(f"{k};dur={v}" for k, v in timing.items())


@pytest.mark.parametrize(("top_k", "count"), [(1, 1), (6, 6), (7, 6), (10**20, 6)])
async def test_top_k_is_clamped_to_the_classes(client: httpx.AsyncClient, top_k: int, count: int) -> None:
    assert len((await ask(client, top_k=top_k))["predictions"]) == count


async def test_threshold_may_leave_nothing(client: httpx.AsyncClient) -> None:
    assert (await ask(client, threshold=1))["predictions"] == []


async def test_threshold_leaves_what_is_likely(client: httpx.AsyncClient) -> None:
    everything = (await ask(client))["predictions"]
    likely = (await ask(client, threshold=everything[1]["score"]))["predictions"]
    assert likely == everything[:2]


async def test_a_version_can_be_asked_for(client: httpx.AsyncClient) -> None:
    assert (await ask(client, model="colours", version=1))["version"] == 1
    assert (await ask(client, model="colours@1"))["version"] == 1
    assert (await ask(client, version=1))["version"] == 1


async def test_several_models_answer_in_the_order_asked(client: httpx.AsyncClient) -> None:
    answer = await ask(client, model="tones,colours@1,far,tones", top_k=2)
    assert list(answer) == ["request_id", "results", "timing_ms", "batch_size"]
    assert [(each["model"], each["version"]) for each in answer["results"]] == [
        ("tones", 1),
        ("colours", 1),
        ("far", 1),
    ]
    assert all(set(each) == {"model", "version", "predictions"} for each in answer["results"])
    assert all(each["predictions"][0]["label"] == "red" for each in answer["results"])


async def test_several_models_agree_with_each_asked_alone(client: httpx.AsyncClient) -> None:
    together = await ask(client, model="tones,colours,far")
    for each in together["results"]:
        assert (await ask(client, model=each["model"]))["predictions"] == each["predictions"]


@pytest.mark.parametrize(
    ("model", "rows"),
    [("colours@1,colours@2", 1), ("colours,tones", 2), ("colours,tones,colours@1", 2), ("colours,far", 1)],
    ids=["one spec", "two specs", "three models of two specs", "another extractor"],
)
async def test_models_share_a_row_for_each_spec_and_extractor(
    own_client: httpx.AsyncClient, engine: ColourEngine, model: str, rows: int
) -> None:
    await ask(own_client, model=model)
    assert sum(engine.sizes) == rows


async def test_a_model_of_another_extractor_leaves_the_first_alone(
    own_client: httpx.AsyncClient, engine: ColourEngine
) -> None:
    await ask(own_client, model="far")
    assert engine.sizes == []


async def test_the_default_model_can_be_chosen(serve: Serve) -> None:
    async with serve(default_model="tones") as client:
        assert (await ask(client))["model"] == "tones"


async def test_tiff_and_gif_and_jpeg_are_read(client: httpx.AsyncClient) -> None:
    for kind in ("TIFF", "GIF", "JPEG", "BMP", "WEBP"):
        response = await client.post("/v1/classify", content=encoded("blue", kind))
        assert response.json()["predictions"][0]["label"] == "blue"
