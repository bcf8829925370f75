"""Errors as problem+json: unknown addresses, methods that are not allowed, and internal errors."""

from __future__ import annotations

import httpx
import pytest

from app.api.problems import error_headers
from tests.support.asgi import Serve
from tests.support.colour_engine import ColourEngine
from tests.support.encoded_images import encoded

pytestmark = pytest.mark.anyio

IMAGE = encoded()


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/v1/classify", 405, "method_not_allowed"),
        ("GET", "/v1/models/nosuch", 404, "model_not_found"),
        ("GET", "/v1/models/colours?version=0", 422, "bad_parameter"),
        ("GET", "/static/nowhere.css", 404, "not_found"),
    ],
)
async def test_errors_of_other_addresses_are_problems(
    client: httpx.AsyncClient, method: str, path: str, status: int, code: str
) -> None:
    response = await client.request(method, path)
    assert response.headers["Content-Type"] == "application/problem+json"
    assert (response.status_code, response.json()["code"]) == (status, code)


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/v1/classify", "POST"),
        ("/predictions/colours", "POST, PUT"),
        ("/predictions/colours/1", "POST, PUT"),
        ("/livez", "GET, HEAD"),
        ("/v2", "GET, HEAD"),
        ("/static/page.css", "GET, HEAD"),
    ],
)
async def test_405_lists_every_allowed_method(client: httpx.AsyncClient, path: str, methods: str) -> None:
    response = await client.options(path)
    assert (response.status_code, response.headers["Allow"]) == (405, methods)


async def test_internal_error_is_500_and_only_the_log_has_the_details(
    serve: Serve, engine: ColourEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serve() as client:
        engine.broken = True
        response = await client.post("/v1/classify", content=IMAGE, headers={"X-Request-ID": "abc"})
        engine.broken = False
        assert (await client.post("/v1/classify", content=IMAGE)).status_code == 200
    assert (response.status_code, response.json()["code"]) == (500, "internal_error")
    assert response.headers["X-Request-ID"] == "abc"
    assert "ZeroDivision" not in response.text
    log = capsys.readouterr().out
    assert "ZeroDivision" in log
    assert "abc" in log


@pytest.mark.parametrize(
    ("method", "path", "location"),
    [
        ("GET", "/v1/models/", "../models"),
        ("GET", "/v1/models/colours/?version=1", "../colours?version=1"),
        ("POST", "/v1/classify/", "../classify"),
        ("GET", "/docs/", "../docs"),
    ],
)
async def test_final_slash_is_redirected_without_scheme_or_host(
    client: httpx.AsyncClient, method: str, path: str, location: str
) -> None:
    response = await client.request(method, path, headers={"X-Forwarded-Proto": "https"})
    assert (response.status_code, response.headers["Location"]) == (307, location)


@pytest.mark.parametrize("path", ["/v1/nothing/", "/v1/models///", "//evil.example/"])
async def test_other_paths_with_a_final_slash_are_not_found(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(f"http://localhost{path}")
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("status", [400, 404, 408, 413, 422, 429, 500, 503])
def test_only_an_unfinished_body_closes_the_connection(status: int) -> None:
    headers = error_headers(status, ValueError())
    assert (headers.get("Connection") == "close") == (status == 408)
    assert ("Retry-After" in headers) == (status in (429, 503))
