"""Routes that bypass FastAPI: their parameters and their connections."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import httpx
import pytest
from fastapi import FastAPI

from app.api.fast_route import FastRoute
from app.batching.scheduler import BatchScheduler
from app.inference.service import Service
from app.routes import classify, classify_batch, embed, torchserve, v2
from tests.support.asgi import Serve, app_of
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
