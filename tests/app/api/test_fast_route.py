"""Routes that are called without FastAPI: what they take, and what comes before them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from app.api.fast_route import FastRoute
from app.auth.keys import Role, add
from app.routes import classify, embed, v2
from app.routes import classify_batch as batch
from app.routes import torchserve as predictions
from tests.app.conftest import Serve
from tests.support.encoded_images import encoded
from tests.support.raw_http import connected, post, read_answer
from tests.support.tiny_app import ColourEngine

pytestmark = pytest.mark.anyio

PICTURE = encoded()


async def held_up(
    engine: ColourEngine, client: httpx.AsyncClient, model: str = "colours", **headers: str
) -> asyncio.Task[httpx.Response]:
    """A request that stays in the engine until it is let go."""
    engine.go.clear()
    first = asyncio.create_task(client.post(f"/v1/classify?model={model}", content=PICTURE, headers=headers))
    await asyncio.to_thread(engine.began.acquire)
    return first


@pytest.mark.parametrize(
    ("query", "classes"),
    [
        ("top_k=1", 1),
        ("top_k=x&top_k=1", 1),
        ("top_k=1&top_k=2", 2),
        ("top_k=+1", 1),
        ("top_k=1&X-Request-Timeout-Ms=x&timeout_ms=x&request=x", 1),
    ],
)
async def test_the_last_of_repeated_parameters_counts_and_unknown_ones_do_not(
    client: httpx.AsyncClient, query: str, classes: int
) -> None:
    answer = await client.post(f"/v1/classify?{query}", content=PICTURE)
    assert len(answer.json()["predictions"]) == classes


async def test_everything_that_is_wrong_with_parameters_is_told_at_once(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/classify?threshold=2&top_k=x")
    assert (answer.status_code, answer.json()["code"]) == (422, "bad_parameter")
    assert answer.json()["detail"] == (
        "top_k: Input should be a valid integer, unable to parse string as an integer; "
        "threshold: Input should be less than or equal to 1."
    )


@pytest.mark.parametrize(
    ("query", "headers", "detail"),
    [
        ("model=cifar10&version=0", {}, "version: Input should be greater than or equal to 1."),
        ("", {"X-Request-Timeout-Ms": "-5"}, "X-Request-Timeout-Ms: Input should be greater than 0."),
    ],
)
async def test_what_is_wrong_with_an_optional_parameter_is_said_by_its_name_alone(
    client: httpx.AsyncClient, query: str, headers: dict[str, str], detail: str
) -> None:
    answer = await client.post(f"/v1/classify?{query}", content=PICTURE, headers=headers)
    assert (answer.status_code, answer.json()["detail"]) == (422, detail)


async def test_what_reads_a_body_is_called_directly(make_app: Callable[..., FastAPI]) -> None:
    """So that whoever adds such an address does not leave it out."""
    paths = make_app().openapi()["paths"]
    reading = {path for path, operations in paths.items() if any("requestBody" in each for each in operations.values())}
    routers = [each.router for each in (batch, classify, embed, predictions, v2)]
    assert reading <= {route.path for router in routers for route in router.routes if isinstance(route, FastRoute)}


async def test_a_key_is_asked_for_before_there_is_a_word_about_room(
    serve: Serve, engine: ColourEngine, tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    mine = {"X-API-Key": add(keys, "me", Role.USER)}
    async with serve(queue_size=1, api_keys_file=keys) as client:
        first = await held_up(engine, client, **mine)
        refused = await client.post("/v1/classify", content=PICTURE, headers=mine)
        assert (await client.post("/v1/classify", content=PICTURE)).status_code == 401
        assert refused.status_code == 503
        assert refused.headers["Cache-Control"] == "no-store"
        engine.go.set()
        assert (await first).status_code == 200


async def test_who_is_refused_is_told_what_is_left(serve: Serve, engine: ColourEngine) -> None:
    async with serve(queue_size=1, rate_limit="10/minute") as client:
        first = await held_up(engine, client)
        refused = await client.post("/v1/classify", content=PICTURE)
        assert (refused.status_code, refused.headers["RateLimit"]) == (503, '"60s";r=8;t=60')
        engine.go.set()
        await first


async def test_metrics_know_the_address_of_a_refusal(serve: Serve, engine: ColourEngine) -> None:
    async with serve(queue_size=1) as client:
        first = await held_up(engine, client)
        await client.post("/predictions/colours", content=PICTURE)
        told = (await client.get("/metrics")).text
        engine.go.set()
        await first
    assert 'classifier_requests_total{method="POST",route="/predictions/{model}",status="503"} 1.0' in told


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/classify?model=none&top_k=x", 503),
        ("/v1/classify/batch", 503),
        ("/v2/models/none/infer", 503),
        ("/v2/models/colours", 200),
        ("/v1/models", 200),
    ],
)
async def test_while_all_is_full_work_is_refused_unseen_and_nothing_else(
    serve: Serve, engines: dict[str, ColourEngine], path: str, status: int
) -> None:
    async with serve(queue_size=1) as client:
        held = [await held_up(engines["near_net"], client, "colours"), await held_up(engines["far_net"], client, "far")]
        for model in ("colours", "far"):
            refused = await client.post(f"/v1/classify?model={model}", content=PICTURE)
            assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
        method = "POST" if status == 503 else "GET"
        assert (await client.request(method, path, content=PICTURE)).status_code == status
        for engine in engines.values():
            engine.go.set()
        await asyncio.gather(*held)
        assert (await client.post("/v1/classify?model=none", content=PICTURE)).status_code == 404


async def test_a_network_that_is_full_refuses_nothing_of_another(serve: Serve, engine: ColourEngine) -> None:
    async with serve(queue_size=1) as client:
        first = await held_up(engine, client)
        for model, status in [("colours", 503), ("far", 200)] * 2:
            assert (await client.post(f"/v1/classify?model={model}", content=PICTURE)).status_code == status
        engine.go.set()
        await first


async def test_a_deadline_is_looked_at_first_as_well(serve: Serve, engine: ColourEngine) -> None:
    async with serve(queue_size=2) as client:
        first = await held_up(engine, client)
        for model in ("colours", "none"):  # the other network is empty, and an empty one is always tried
            answer = await client.post(f"/v1/classify?model={model}", headers={"X-Request-Timeout-Ms": "0.001"})
            assert answer.status_code == (503 if model == "colours" else 404)
        engine.go.set()
        await first


def test_a_connection_can_be_used_on_after_a_refusal_that_read_no_body(tiny_address: str) -> None:
    with connected(tiny_address) as connection:
        for path, status in [("/v1/classify?model=none", 404), ("/v1/classify", 200)] * 2:
            connection.sendall(post(PICTURE, "image/png", path))
            assert read_answer(connection).status == status
