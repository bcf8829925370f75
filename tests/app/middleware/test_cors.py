"""Requests from pages of other origins."""

from __future__ import annotations

from typing import Any

import pytest

from app.main import create_app
from app.middleware.cors import REQUEST_HEADERS, RESPONSE_HEADERS
from app.settings import Settings
from tests.support.asgi import Serve
from tests.support.paths import ROOT

pytestmark = pytest.mark.anyio

ORIGIN = {"Origin": "https://shop.example"}
PREFLIGHT = {**ORIGIN, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "X-API-Key"}


async def test_other_origins_are_not_allowed_by_default(serve: Serve) -> None:
    async with serve() as client:
        assert "Access-Control-Allow-Origin" not in (await client.get("/v1/models", headers=ORIGIN)).headers
        assert (await client.options("/v1/classify", headers=PREFLIGHT)).status_code == 405


async def test_only_configured_origins_are_allowed(serve: Serve) -> None:
    async with serve(cors_origins="https://shop.example https://www.example") as client:
        response = await client.get("/v1/models", headers=ORIGIN)
        assert response.headers["Access-Control-Allow-Origin"] == "https://shop.example"
        assert "Access-Control-Allow-Credentials" not in response.headers
        assert (await client.options("/v1/classify", headers=PREFLIGHT)).status_code == 200
        other = await client.get("/v1/models", headers={"Origin": "https://evil.example"})
        assert "Access-Control-Allow-Origin" not in other.headers


@pytest.mark.parametrize(
    ("method", "status"), [("GET", 200), ("POST", 200), ("PUT", 200), ("DELETE", 400), ("PATCH", 400)]
)
async def test_pages_may_use_the_methods_of_the_routes(serve: Serve, method: str, status: int) -> None:
    async with serve(cors_origins="https://shop.example") as client:
        preflight = {**PREFLIGHT, "Access-Control-Request-Method": method}
        assert (await client.options("/predictions/colours", headers=preflight)).status_code == status


async def test_pages_may_read_the_documented_headers(serve: Serve) -> None:
    async with serve(cors_origins="https://shop.example") as client:
        response = await client.get("/v1/models", headers=ORIGIN)
    exposed = response.headers["Access-Control-Expose-Headers"].split(", ")
    assert exposed == [
        "Inference-Header-Content-Length",
        "RateLimit",
        "RateLimit-Policy",
        "Retry-After",
        "Server-Timing",
        "X-Request-ID",
    ]


@pytest.mark.parametrize("header", REQUEST_HEADERS)
async def test_pages_may_send_every_documented_header(serve: Serve, header: str) -> None:
    preflight = {**PREFLIGHT, "Access-Control-Request-Headers": header.lower()}
    async with serve(cors_origins="https://shop.example") as client:
        assert (await client.options("/v2/models/colours/infer", headers=preflight)).status_code == 200


def test_headers_of_the_documents_are_those_of_cors() -> None:
    text = (ROOT / "docs" / "api.md").read_text()
    always_allowed = {"Accept", "Accept-Encoding", "Content-Language"}
    document = create_app(Settings()).openapi()
    parameters = [each for path in document["paths"].values() for each in _parameters(path)]
    parameters += document["components"].get("parameters", {}).values()
    sent = {each["name"] for each in parameters if each.get("in") == "header"}
    assert sent <= set(REQUEST_HEADERS)
    assert {name for name in REQUEST_HEADERS if name not in text} <= {"traceparent"}
    assert {name for name in RESPONSE_HEADERS if name not in text} == set()
    assert not always_allowed & set(REQUEST_HEADERS)


def _parameters(path: dict[str, Any]) -> list[dict[str, Any]]:
    return [parameter for operation in path.values() for parameter in operation.get("parameters", [])]
