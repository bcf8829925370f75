"""Routes that bypass FastAPI: their parameters and their connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager

import httpx
import pytest
from fastapi import FastAPI

from app.api.fast_route import FastRoute
from app.batching.scheduler import BatchScheduler
from app.inference.service import Service
from app.routes import classify, classify_batch, embed, torchserve, v2
from tests.support.asgi import Serve, app_of, block_engine
from tests.support.colour_engine import ColourEngine
from tests.support.encoded_images import encoded
from tests.support.raw_http import connected, post, read_answer

pytestmark = pytest.mark.anyio

IMAGE = encoded()


async def test_number_may_have_a_sign(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/classify?top_k=%2B1", content=IMAGE)
    assert len(response.json()["predictions"]) == 1


async def test_all_invalid_parameters_are_reported_together(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/classify?threshold=2&top_k=x")
    assert (response.status_code, response.json()["code"]) == (422, "bad_parameter")
    assert response.json()["detail"] == (
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
async def test_error_of_an_optional_parameter_is_reported_once_by_its_name(
    client: httpx.AsyncClient, query: str, headers: dict[str, str], detail: str
) -> None:
    response = await client.post(f"/v1/classify?{query}", content=IMAGE, headers=headers)
    assert (response.status_code, response.json()["detail"]) == (422, detail)


async def test_every_route_with_a_body_is_a_fast_route(make_app: Callable[..., FastAPI]) -> None:
    paths = make_app().openapi()["paths"]
    with_body = {path for path, methods in paths.items() if any("requestBody" in method for method in methods.values())}
    routers = [module.router for module in (classify_batch, classify, embed, torchserve, v2)]
    assert with_body <= {route.path for router in routers for route in router.routes if isinstance(route, FastRoute)}


@asynccontextmanager
async def shedding_load(
    serve: Serve, engines: dict[str, ColourEngine], **settings: float
) -> AsyncIterator[httpx.AsyncClient]:
    """Run an app that has rejected a request because of its timeout, while every engine runs another one."""
    patient = {"X-Request-Timeout-Ms": "1e9"}
    async with serve(**settings) as client:
        running = [
            await block_engine(engines["near_net"], client, IMAGE, **patient),
            await block_engine(engines["far_net"], client, IMAGE, "/v1/classify?model=far", **patient),
        ]
        rejected = await client.post("/v1/classify", content=IMAGE, headers={"X-Request-Timeout-Ms": "0.001"})
        assert rejected.json()["code"] == "deadline_unmeetable"
        yield client
        for engine in engines.values():
            engine.unblocked.set()
        assert [response.status_code for response in await asyncio.gather(*running)] == [200, 200]


@pytest.mark.parametrize(
    ("timeout_ms", "status"), [("0.001", 503), ("1e9", 422), ("0", 422), ("-1", 422), ("soon", 422), (None, 422)]
)
async def test_early_load_shedding_respects_the_timeout_header(
    serve: Serve, engines: dict[str, ColourEngine], timeout_ms: str | None, status: int
) -> None:
    """The request has an invalid parameter too, which is reported unless its load was shed."""
    headers = {"X-Request-Timeout-Ms": timeout_ms} if timeout_ms else {}
    async with shedding_load(serve, engines) as client:
        response = await client.post("/v1/classify?top_k=x", content=IMAGE, headers=headers)
    assert response.status_code == status


@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/classify?top_k=x"), ("PUT", "/predictions/nosuch")])
@pytest.mark.parametrize(("timeout_ms", "is_shed"), [("soon", True), ("-1", True), (None, True), ("1e9", False)])
async def test_early_load_shedding_falls_back_to_the_configured_deadline(
    serve: Serve, engines: dict[str, ColourEngine], method: str, path: str, timeout_ms: str | None, is_shed: bool
) -> None:
    headers = {"X-Request-Timeout-Ms": timeout_ms} if timeout_ms else {}
    async with shedding_load(serve, engines, deadline_ms=0.001) as client:
        response = await client.request(method, path, content=IMAGE, headers=headers)
    assert (response.status_code == 503) is is_shed


def test_connection_is_reusable_after_a_rejection_that_read_no_body(tiny_address: str) -> None:
    with connected(tiny_address) as connection:
        for path, status in [("/v1/classify?model=none", 404), ("/v1/classify", 200)] * 2:
            connection.sendall(post(IMAGE, "image/png", path))
            assert read_answer(connection).status == status


async def test_early_rejection_considers_the_deadline_of_the_request(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that rejects reads no parameter but the deadline; an invalid one counts as missing."""
    async with serve(deadline_ms=60_000) as client:
        service: Service = app_of(client).state.app_state.manager.service
        monkeypatch.setattr(BatchScheduler, "estimate_wait_s", lambda *_: 100.0)
        with ExitStack() as stack:
            for batcher in service._batchers.values():
                stack.enter_context(batcher.reserve())
            assert (await client.post("/v1/classify", content=IMAGE)).json()["code"] == "deadline_unmeetable"
            for timeout_ms, code in (
                ("", "deadline_unmeetable"),
                ("50000", "deadline_unmeetable"),
                ("200000", "model_not_found"),
            ):
                headers = {"X-Request-Timeout-Ms": timeout_ms} if timeout_ms else {}
                response = await client.post("/v1/classify?model=none", content=IMAGE, headers=headers)
                assert response.json()["code"] == code, timeout_ms
            for invalid in ("-200000", "0", "x"):
                headers = {"X-Request-Timeout-Ms": invalid}
                response = await client.post("/v1/classify", content=IMAGE, headers=headers)
                assert response.json()["code"] == "deadline_unmeetable", invalid
