"""Requests from pages of other origins."""

from __future__ import annotations

import pytest

from tests.support.asgi import Serve

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
