"""Requests that pages of other origins send without being allowed to."""

from __future__ import annotations

import httpx
import pytest

from tests.support.asgi import Serve, unreadable_body
from tests.support.encoded_images import encoded

pytestmark = pytest.mark.anyio

IMAGE = encoded()
SHOP = "https://shop.example"
FOREIGN = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},
    {"Sec-Fetch-Site": "unheard-of"},
    {"Origin": SHOP},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "http://localhost:8000"},
    {"Origin": "http://localhost.evil.example"},
    {"Origin": "http://localhost@evil.example"},
    {"Origin": "file://localhost"},
]
OWN = [
    {},
    {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"},
    {"Sec-Fetch-Site": "same-origin", "Origin": "https://images.example"},  # a proxy has changed the Host header
    {"Sec-Fetch-Site": "none"},
    {"Origin": "http://localhost"},
    {"Origin": "HTTP://LOCALHOST:80"},
    {"Origin": "https://localhost"},  # a proxy terminates TLS
]


@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.parametrize("path", ["/", "/v1/classify", "/v1/classify/batch", "/v1/models/colours/unload"])
async def test_foreign_page_is_rejected_before_its_body_is_read(
    client: httpx.AsyncClient, path: str, headers: dict[str, str]
) -> None:
    response = await client.post(path, content=unreadable_body(), headers=headers)
    assert (response.status_code, response.json()["code"]) == (403, "cross_origin")
    assert "APP_CORS_ORIGINS" in response.json()["detail"]


@pytest.mark.parametrize("headers", OWN)
async def test_own_page_and_programs_are_served(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    assert (await client.post("/v1/classify", content=IMAGE, headers=headers)).status_code == 200
    assert (await client.post("/", files={"file": IMAGE}, headers=headers)).status_code == 200


@pytest.mark.parametrize("host", ["localhost", "localhost:443"])
async def test_port_of_https_is_the_default_of_its_origin(client: httpx.AsyncClient, host: str) -> None:
    headers = {"Origin": "https://localhost", "Host": host}
    assert (await client.post("/v1/classify", content=IMAGE, headers=headers)).status_code == 200


async def test_foreign_page_may_still_follow_a_link(client: httpx.AsyncClient) -> None:
    assert (await client.get("/", headers={"Sec-Fetch-Site": "cross-site"})).status_code == 200
    assert (await client.head("/", headers={"Sec-Fetch-Site": "cross-site"})).status_code == 200


async def test_foreign_page_may_ask_what_is_allowed(client: httpx.AsyncClient) -> None:
    response = await client.options("/v1/classify", headers={"Sec-Fetch-Site": "cross-site", "Origin": SHOP})
    assert response.status_code == 405


@pytest.mark.parametrize("method", ["DELETE", "PATCH", "REPORT"])
async def test_other_methods_count_like_post(client: httpx.AsyncClient, method: str) -> None:
    assert (await client.request(method, "/v1/models", headers={"Origin": SHOP})).status_code == 403
    assert (await client.request(method, "/v1/models")).status_code == 405


async def test_put_counts_like_post(client: httpx.AsyncClient) -> None:
    response = await client.put("/predictions/colours", content=IMAGE, headers={"Origin": SHOP})
    assert response.status_code == 403


@pytest.mark.parametrize("allowed", [SHOP, "*"])
async def test_allowed_origin_may_post(serve: Serve, allowed: str) -> None:
    async with serve(cors_origins=allowed) as client:
        headers = {"Origin": SHOP, "Sec-Fetch-Site": "cross-site"}
        response = await client.post("/v1/classify", content=IMAGE, headers=headers)
        assert response.status_code == 200
        assert response.headers["Access-Control-Allow-Origin"] in (SHOP, "*")


async def test_other_origin_is_rejected_where_one_is_allowed(serve: Serve) -> None:
    async with serve(cors_origins=SHOP) as client:
        headers = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
        response = await client.post("/v1/classify", content=unreadable_body(), headers=headers)
        assert (response.status_code, response.json()["code"]) == (403, "cross_origin")
        assert "Access-Control-Allow-Origin" not in response.headers
