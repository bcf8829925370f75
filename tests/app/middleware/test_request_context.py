"""Request IDs and security headers."""

from __future__ import annotations

import httpx
import pytest

from app.middleware.request_context import SECURITY_HEADERS
from app.state import AppState
from tests.support.asgi import app_of
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


async def test_memory_of_a_request_is_given_back_with_its_response(own_client: httpx.AsyncClient) -> None:
    state: AppState = app_of(own_client).state.app_state
    for content, status in ((encoded(), 200), (encoded()[:100], 422), (b"no image", 415)):
        assert (await own_client.post("/v1/classify", content=content)).status_code == status
        assert state.budget.used_bytes == 0


async def test_connections_are_closed_while_the_server_drains_and_not_before(own_client: httpx.AsyncClient) -> None:
    assert "Connection" not in (await own_client.get("/livez")).headers
    state: AppState = app_of(own_client).state.app_state
    state.lifecycle.drain()
    for path in ("/livez", "/v1/models", "/nowhere"):
        assert (await own_client.get(path)).headers.get_list("Connection") == ["close"]


def test_security_headers_are_the_chosen_ones() -> None:
    headers = dict(SECURITY_HEADERS)
    assert headers.pop("Content-Security-Policy").split("; ") == [
        "default-src 'self'",
        "img-src 'self' data:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    ]
    assert headers == {
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }


@pytest.mark.parametrize("path", ["/", "/docs", "/v1/models", "/nowhere", "/static/page.css", "/metrics"])
async def test_every_response_has_security_headers(client: httpx.AsyncClient, path: str) -> None:
    headers = (await client.get(path)).headers
    assert {name: headers.get_list(name) for name in SECURITY_HEADERS} == {
        name: [value] for name, value in SECURITY_HEADERS.items()
    }
    assert len(headers.get_list("X-Request-ID")) == 1
