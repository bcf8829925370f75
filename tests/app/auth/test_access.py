"""API keys, the public addresses, and the limit on concurrent requests."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from app.auth.keys import Role, add_key
from tests.support.asgi import Serve, unreadable_body
from tests.support.colour_engine import ColourEngine
from tests.support.encoded_images import encoded
from tests.support.polling import eventually

pytestmark = pytest.mark.anyio

IMAGE = encoded()
PUBLIC = {
    *("/", "/livez", "/readyz", "/healthz", "/v2/health/live", "/v2/health/ready"),
    *("/docs", "/openapi.json", "/favicon.ico", "/static/page.css", "/static/swagger/swagger-ui.css", "/metrics"),
}


async def test_only_public_addresses_respond_without_a_key(
    serve: Serve, make_app: Callable[..., FastAPI], keys_file: Path, key: str
) -> None:
    routes = [route for route in make_app().routes if isinstance(route, APIRoute)]
    requests = {(method, route.path) for route in routes for method in route.methods or ()}
    requests |= {("GET", path) for path in PUBLIC} | {("GET", "/nowhere"), ("GET", "/static/../v1/models")}
    values = {"{model}": "colours", "{name}": "colours", "{version}": "1"}
    async with serve(api_keys_file=keys_file) as client:
        for method, path in sorted(requests):
            response = await client.request(method, re.sub(r"{\w+}", lambda match: values[match[0]], path))
            if path in PUBLIC:
                assert response.status_code in (200, 301, 405) or (method, path) == ("POST", "/"), path
            else:
                assert response.status_code in (401, 404), path
                assert response.status_code == 401 or path.startswith("/static/")
        assert (await client.post("/", files={"file": IMAGE})).status_code == 401


@pytest.mark.parametrize(
    "path", ["//v1/models", "/livez/../v1/models", "/v1/models?/livez", "/static", "/docs/", "/V1/MODELS"]
)
async def test_no_spelling_of_a_protected_address_is_public(serve: Serve, keys_file: Path, key: str, path: str) -> None:
    async with serve(api_keys_file=keys_file) as client:
        assert (await client.get(path)).status_code == 401


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Authorization", "Bearer {}"),
        ("Authorization", "bearer {}"),
        ("Authorization", "BEARER \t{}"),
        ("X-API-Key", "{}"),
    ],
)
async def test_key_is_accepted_in_either_header(
    serve: Serve, keys_file: Path, key: str, header: str, value: str
) -> None:
    async with serve(api_keys_file=keys_file) as client:
        response = await client.post("/v1/classify", content=IMAGE, headers={header: value.format(key)})
        assert response.status_code == 200
        assert response.headers["Cache-Control"] == "no-store"


async def test_responses_may_be_stored_where_no_keys_are_configured(client: httpx.AsyncClient) -> None:
    assert "Cache-Control" not in (await client.get("/v1/models")).headers


@pytest.mark.parametrize("path", ["/v1/classify", "/v2/models/colours/infer"])
async def test_wrong_key_is_401_before_the_body_is_read(serve: Serve, keys_file: Path, key: str, path: str) -> None:
    async with serve(api_keys_file=keys_file) as client:
        response = await client.post(path, content=unreadable_body(), headers={"X-API-Key": key[:-1] + "~"})
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert key[:-1] not in response.text


async def test_keys_are_added_and_revoked_while_the_server_runs(serve: Serve, keys_file: Path, key: str) -> None:
    async with serve(api_keys_file=keys_file) as client:

        async def status(key: str) -> int:
            return (await client.get("/v1/models", headers={"X-API-Key": key})).status_code

        async def is_accepted() -> bool:
            return await status(new) == 200

        async def is_revoked() -> bool:
            return await status(key) == 401

        new = add_key(keys_file, "new", Role.USER)
        assert await status(key) == 200
        await eventually(is_accepted)
        remove_key(keys_file, "laptop")
        await eventually(is_revoked)
        assert await status(new) == 200


def remove_key(keys_file: Path, name: str) -> None:
    lines = keys_file.read_text().splitlines(keepends=True)
    keys_file.write_text("".join(line for line in lines if not line.startswith(f"{name} ")))


async def test_form_sends_the_key_in_a_field(serve: Serve, keys_file: Path, key: str) -> None:
    async with serve(api_keys_file=keys_file) as client:
        assert 'name="key"' in (await client.get("/")).text
        right = await client.post("/", files={"file": IMAGE}, data={"key": key})
        assert right.status_code == 200
        assert "red" in right.text
        assert key not in right.text
        wrong = await client.post("/", files={"file": IMAGE}, data={"key": "wrong"})
        assert (wrong.status_code, "Invalid API key" in wrong.text) == (401, True)
        assert wrong.headers["WWW-Authenticate"].startswith("Bearer")


async def test_form_has_no_key_field_where_no_keys_are_configured(client: httpx.AsyncClient) -> None:
    assert 'name="key"' not in (await client.get("/")).text


@pytest.mark.parametrize("is_public", [True, False])
async def test_metrics_are_public_or_need_a_key(serve: Serve, keys_file: Path, key: str, is_public: bool) -> None:
    async with serve(api_keys_file=keys_file, metrics_public=is_public) as client:
        assert (await client.get("/metrics")).status_code == (200 if is_public else 401)
        assert (await client.get("/metrics", headers={"X-API-Key": key})).status_code == 200


async def test_concurrent_requests_of_a_caller_are_limited(serve: Serve, engine: ColourEngine) -> None:
    async with serve(max_concurrent=2) as client:
        engine.unblocked.clear()
        running = [asyncio.create_task(client.post("/v1/classify", content=IMAGE)) for _ in range(2)]
        await asyncio.to_thread(engine.batch_started.acquire)
        rejected = await client.post("/v1/classify", content=IMAGE)
        assert (rejected.status_code, rejected.json()["code"]) == (429, "too_many_at_once")
        assert rejected.headers["Retry-After"] == "1"
        engine.unblocked.set()
        assert [response.status_code for response in await asyncio.gather(*running)] == [200, 200]
        assert (await client.post("/v1/classify", content=IMAGE)).status_code == 200
