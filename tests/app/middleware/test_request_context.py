"""Request IDs and security headers."""

from __future__ import annotations

import httpx
import pytest

from app.middleware.request_context import SECURITY_HEADERS
from tests.support.encoded_images import encoded

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("request_id", ["abc-123", "Root=1-67891233-abcdef012345678912345678", "x" * 128])
async def test_request_id_of_the_client_is_repeated(client: httpx.AsyncClient, request_id: str) -> None:
    response = await client.post("/v1/classify", content=encoded(), headers={"X-Request-ID": request_id})
    assert response.headers["X-Request-ID"] == request_id
    assert response.json()["request_id"] == request_id


@pytest.mark.parametrize("request_id", [b"x" * 129, b"a\tb", "é".encode(), b"\x1b[31m"])
async def test_unsafe_request_id_is_replaced(client: httpx.AsyncClient, request_id: bytes) -> None:
    response = await client.get("/livez", headers=[(b"X-Request-ID", request_id)])
    generated = response.headers["X-Request-ID"]
    assert len(generated) == 32
    assert generated.isalnum()


async def test_generated_request_ids_differ(client: httpx.AsyncClient) -> None:
    request_ids = {(await client.get("/livez")).headers["X-Request-ID"] for _ in range(5)}
    assert len(request_ids) == 5


@pytest.mark.parametrize("path", ["/", "/docs", "/v1/models", "/nowhere", "/static/page.css", "/metrics"])
async def test_every_response_has_security_headers(client: httpx.AsyncClient, path: str) -> None:
    headers = (await client.get(path)).headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert all(len(headers.get_list(name)) == 1 for name in [*SECURITY_HEADERS, "X-Request-ID"])
