"""Requests for hosts that are not the server's."""

from __future__ import annotations

import re
from collections.abc import Callable

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from tests.support.asgi import Serve, unreadable_body
from tests.support.encoded_images import encoded

pytestmark = pytest.mark.anyio

EVIL = "evil.example"
HEALTH_CHECKS = ("/livez", "/readyz", "/healthz", "/v2/health/live", "/v2/health/ready")


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/static/page.css", "/v1/models", "/metrics", "/x"])
async def test_rebound_name_reads_nothing_from_a_loopback_server(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(path, headers={"Host": f"{EVIL}:8000"})
    assert (response.status_code, response.json()["code"]) == (421, "unknown_host")
    assert "APP_ALLOWED_HOSTS" in response.json()["detail"]
    assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_request_for_another_host_is_rejected_before_its_body_is_read(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/classify", content=unreadable_body(), headers={"Host": EVIL})
    assert response.status_code == 421
    response = await client.post("/v2/models/colours/infer", content=unreadable_body(), headers={"Host": EVIL})
    assert response.status_code == 421
    assert "APP_ALLOWED_HOSTS" in response.json()["error"]


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000", ""])
async def test_loopback_names_are_served(client: httpx.AsyncClient, host: str) -> None:
    assert (await client.post("/v1/classify", content=encoded(), headers={"Host": host})).status_code == 200


async def test_configured_hosts_replace_the_default(serve: Serve) -> None:
    async with serve(allowed_hosts="images.example.org, *.internal") as client:
        for host, status in {"images.example.org:443": 200, "a.internal": 200, "localhost": 421, "": 421}.items():
            assert (await client.get("/v1/models", headers={"Host": host})).status_code == status, host


@pytest.mark.parametrize("path", HEALTH_CHECKS)
async def test_health_checks_respond_for_every_host(client: httpx.AsyncClient, path: str) -> None:
    for host in (EVIL, "10.1.2.3:8000"):
        assert (await client.get(path, headers={"Host": host})).status_code == 200


async def test_metrics_respond_for_the_address_of_a_pod(client: httpx.AsyncClient) -> None:
    for host in ("10.1.2.3:8000", "[2001:db8::1]:8000"):
        assert (await client.get("/metrics", headers={"Host": host})).status_code == 200


async def test_long_host_with_control_characters_is_shortened_in_the_error(client: httpx.AsyncClient) -> None:
    detail = (await client.get("/", headers=[(b"Host", b"\x1b[31m" + b"a" * 9000)])).json()["detail"]
    assert len(detail) < 400
    assert detail.isprintable()


async def test_error_shows_100_characters_of_a_host(client: httpx.AsyncClient) -> None:
    for length, shown in ((100, 100), (101, 100)):
        detail = (await client.get("/", headers={"Host": "a" * length})).json()["detail"]
        assert f"for the host '{'a' * shown}'. Use" in detail


async def test_no_response_contains_the_host_of_the_request(serve: Serve, make_app: Callable[..., FastAPI]) -> None:
    values = {"{model}": "colours", "{name}": "colours", "{version}": "1"}
    routes = [
        route.path for route in make_app().routes if isinstance(route, APIRoute) and "GET" in (route.methods or ())
    ]
    paths = [re.sub(r"{\w+}", lambda match: values[match[0]], path) for path in routes]
    headers = {"Host": EVIL, "X-Forwarded-Host": EVIL, "Forwarded": f"host={EVIL}"}
    async with serve(allowed_hosts="*") as client:
        for path in [*paths, *(f"{path}/" for path in paths), "/static", "/static/js", f"//{EVIL}/", "/nowhere"]:
            for method in ("GET", "POST"):
                response = await client.request(method, f"http://localhost{path}", headers=headers)
                assert response.status_code != 421
                assert EVIL not in str(response.headers)
                assert EVIL not in response.text.replace(f"//{EVIL}/", ""), path
