"""Who is let in, and how often."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from app.auth.keys import Role, add
from tests.app.conftest import Serve, eventually
from tests.support.encoded_images import encoded
from tests.support.tiny_app import ColourEngine

pytestmark = pytest.mark.anyio

PICTURE = encoded()
OPEN = {
    *("/", "/livez", "/readyz", "/healthz", "/v2/health/live", "/v2/health/ready"),
    *("/docs", "/openapi.json", "/favicon.ico", "/static/page.css", "/static/swagger/swagger-ui.css", "/metrics"),
}


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    return tmp_path / "keys"


@pytest.fixture
def key(keys_file: Path) -> str:
    return add(keys_file, "laptop", Role.USER)


async def test_without_a_key_only_what_is_listed_answers(
    serve: Serve, make_app: Callable[..., FastAPI], keys_file: Path, key: str
) -> None:
    routes = [each for each in make_app().routes if isinstance(each, APIRoute)]
    asked = {(method, each.path.replace("{model}", "colours")) for each in routes for method in each.methods or ()}
    asked |= {("GET", path) for path in OPEN} | {("GET", "/nowhere"), ("GET", "/static/../v1/models")}
    async with serve(api_keys_file=keys_file) as client:
        for method, path in sorted(asked):
            response = await client.request(method, path.replace("{version}", "1").replace("{name}", "colours"))
            if path in OPEN:
                assert response.status_code in (200, 301, 405) or (method, path) == ("POST", "/"), path
            else:
                assert response.status_code in (401, 404), path
                assert response.status_code == 401 or path.startswith("/static/")
        assert (await client.post("/", files={"file": PICTURE})).status_code == 401


@pytest.mark.parametrize(
    "path", ["//v1/models", "/livez/../v1/models", "/v1/models?/livez", "/static", "/docs/", "/V1/MODELS"]
)
async def test_no_spelling_of_an_address_opens_it(serve: Serve, keys_file: Path, key: str, path: str) -> None:
    async with serve(api_keys_file=keys_file) as client:
        assert (await client.get(path)).status_code == 401


@pytest.mark.parametrize(
    ("header", "value"), [("Authorization", "Bearer {}"), ("Authorization", "bearer {}"), ("X-API-Key", "{}")]
)
async def test_a_key_comes_in_either_header(serve: Serve, keys_file: Path, key: str, header: str, value: str) -> None:
    async with serve(api_keys_file=keys_file) as client:
        response = await client.post("/v1/classify", content=PICTURE, headers={header: value.format(key)})
        assert response.status_code == 200
        assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ["/v1/classify", "/v2/models/colours/infer"])
async def test_a_wrong_key_is_a_clear_401_before_the_body_is_read(
    serve: Serve, keys_file: Path, key: str, path: str
) -> None:
    async with serve(api_keys_file=keys_file) as client:
        response = await client.post(path, content=never_read(), headers={"X-API-Key": key[:-1] + "~"})
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert key[:-1] not in response.text


async def test_keys_are_taken_up_and_revoked_while_the_server_runs(serve: Serve, keys_file: Path, key: str) -> None:
    async with serve(api_keys_file=keys_file) as client:

        async def status(key: str) -> int:
            return (await client.get("/v1/models", headers={"X-API-Key": key})).status_code

        async def is_taken_up() -> bool:
            return await status(new) == 200

        async def is_revoked() -> bool:
            return await status(key) == 401

        new = add(keys_file, "new", Role.USER)
        assert await status(key) == 200
        await eventually(is_taken_up)
        forget(keys_file, "laptop")
        await eventually(is_revoked)
        assert await status(new) == 200


def forget(keys_file: Path, name: str) -> None:
    lines = keys_file.read_text().splitlines(keepends=True)
    keys_file.write_text("".join(line for line in lines if not line.startswith(f"{name} ")))


async def test_the_form_takes_the_key_in_a_field(serve: Serve, keys_file: Path, key: str) -> None:
    async with serve(api_keys_file=keys_file) as client:
        assert 'name="key"' in (await client.get("/")).text
        right = await client.post("/", files={"file": PICTURE}, data={"key": key})
        assert right.status_code == 200
        assert "red" in right.text
        assert key not in right.text
        wrong = await client.post("/", files={"file": PICTURE}, data={"key": "wrong"})
        assert (wrong.status_code, "none of the server&#39;s" in wrong.text) == (401, True)
        assert wrong.headers["WWW-Authenticate"].startswith("Bearer")


async def test_without_keys_there_is_no_field_for_one(client: httpx.AsyncClient) -> None:
    assert 'name="key"' not in (await client.get("/")).text


@pytest.mark.parametrize("is_public", [True, False])
async def test_metrics_are_open_or_need_a_key(serve: Serve, keys_file: Path, key: str, is_public: bool) -> None:
    async with serve(api_keys_file=keys_file, metrics_public=is_public) as client:
        assert (await client.get("/metrics")).status_code == (200 if is_public else 401)
        assert (await client.get("/metrics", headers={"X-API-Key": key})).status_code == 200


async def test_requests_beyond_the_limit_wait_and_every_answer_says_what_is_left(serve: Serve) -> None:
    async with serve(rate_limit="2/hour") as client:
        first = await client.post("/v1/classify", content=PICTURE)
        assert first.headers["RateLimit-Policy"] == '"3600s";q=2;w=3600'
        assert first.headers["RateLimit"].startswith('"3600s";r=1;t=')
        assert (await client.post("/v1/classify", content=b"no picture")).status_code == 415
        refused = await client.post("/v1/classify", content=PICTURE)
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
        assert refused.headers["RateLimit"].startswith('"3600s";r=0;t=')
        assert refused.headers["RateLimit"] == f'"3600s";r=0;t={refused.headers["Retry-After"]}'
        page = await client.post("/", files={"file": PICTURE})
        assert (page.status_code, "limit of requests" in page.text) == (429, True)
        assert (await client.get("/livez")).status_code == 200
        assert 'requests_rejected_total{reason="rate_limited"} 2.0' in (await client.get("/metrics")).text


async def test_who_has_to_wait_for_hours_is_told_so(serve: Serve) -> None:
    async with serve(rate_limit="1/month") as client:  # of 30 days from the first request, so no end of one is near
        statuses = [(await client.get("/v1/models")).status_code for _ in range(2)]
        refused = await client.get("/v1/models")
    assert statuses == [200, 429]
    assert int(refused.headers["Retry-After"]) > 2_000_000


async def test_what_a_short_limit_refuses_uses_up_no_longer_one(serve: Serve) -> None:
    async with serve(rate_limit="5/month; 1/day") as client:
        answers = [await client.get("/v1/models") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 429, 429]
    assert all('"2592000s";r=4' in answer.headers["RateLimit"] for answer in answers)
    assert 60 < int(answers[-1].headers["Retry-After"]) <= 24 * 3600


async def never_read() -> AsyncIterator[bytes]:
    raise AssertionError("the body was read")
    yield b""


@pytest.mark.parametrize("has_keys", [False, True])
async def test_the_form_is_refused_before_it_is_read(serve: Serve, keys_file: Path, key: str, has_keys: bool) -> None:
    form = {"Content-Type": "multipart/form-data; boundary=b"}
    async with serve(rate_limit="1/hour", api_keys_file=keys_file if has_keys else None) as client:
        first = await client.post("/", files={"file": PICTURE}, data={"key": key})
        assert (first.status_code, first.headers["RateLimit"][:11]) == (200, '"3600s";r=0')
        refused = await client.post("/", content=never_read(), headers=form)
        assert (refused.status_code, "limit of requests" in refused.text) == (429, True)
        assert refused.headers["RateLimit"] == f'"3600s";r=0;t={refused.headers["Retry-After"]}'


async def test_each_key_has_limits_of_its_own(serve: Serve, keys_file: Path, key: str) -> None:
    other = add(keys_file, "phone", Role.USER)
    async with serve(api_keys_file=keys_file, rate_limit="1/hour") as client:

        async def status(key: str) -> int:
            return (await client.get("/v1/models", headers={"X-API-Key": key})).status_code

        assert [await status(key), await status(key), await status(other)] == [200, 429, 200]


@pytest.mark.parametrize("wrong", [{}, {"X-API-Key": "wrong"}], ids=["none", "wrong"])
async def test_wrong_keys_count_for_the_address_and_hinder_no_right_one(
    serve: Serve, keys_file: Path, key: str, wrong: dict[str, str]
) -> None:
    async with serve(api_keys_file=keys_file, rate_limit="2/hour") as client:
        answers = [await client.post("/v1/classify", content=never_read(), headers=wrong) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [401, 401, 429]
        assert [answer.headers["RateLimit"][:11] for answer in answers] == ['"3600s";r=1', *['"3600s";r=0'] * 2]
        assert answers[0].headers["WWW-Authenticate"].startswith("Bearer")
        assert int(answers[-1].headers["Retry-After"]) > 60
        right = await client.get("/v1/models", headers={"X-API-Key": key})
        assert (right.status_code, right.headers["RateLimit"][:11]) == (200, '"3600s";r=1')


async def test_requests_under_way_are_limited_and_free_their_places(serve: Serve, engine: ColourEngine) -> None:
    async with serve(max_concurrent=2) as client:
        engine.go.clear()
        waiting = [asyncio.create_task(client.post("/v1/classify", content=PICTURE)) for _ in range(2)]
        await asyncio.to_thread(engine.began.acquire)
        refused = await client.post("/v1/classify", content=PICTURE)
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_at_once")
        assert refused.headers["Retry-After"] == "1"
        engine.go.set()
        assert [response.status_code for response in await asyncio.gather(*waiting)] == [200, 200]
        assert (await client.post("/v1/classify", content=PICTURE)).status_code == 200


async def test_an_unreachable_redis_leaves_each_server_its_own_count(serve: Serve) -> None:
    async with serve(rate_limit="2/hour", rate_limit_url="redis://127.0.0.1:1") as client:
        statuses = [(await client.get("/v1/models")).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]


async def test_a_redis_that_says_nothing_is_left_alone_for_a_while(serve: Serve) -> None:
    connections = 0

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.read()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as silent:
        port = silent.sockets[0].getsockname()[1]
        async with serve(rate_limit="9/hour", rate_limit_url=f"redis://127.0.0.1:{port}") as client:
            assert (await client.get("/v1/models")).status_code == 200
            before = connections
            answers = [await client.get("/v1/models") for _ in range(3)]
    assert [answer.headers["RateLimit"][:11] for answer in answers] == [f'"3600s";r={left}' for left in (7, 6, 5)]
    assert before == connections > 0


async def test_pages_of_others_read_nothing_unless_their_origin_is_named(serve: Serve) -> None:
    theirs = {"Origin": "https://shop.example"}
    asking = {**theirs, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "X-API-Key"}
    async with serve() as client:
        assert "Access-Control-Allow-Origin" not in (await client.get("/v1/models", headers=theirs)).headers
        assert (await client.options("/v1/classify", headers=asking)).status_code == 405
    async with serve(cors_origins="https://shop.example https://www.example") as client:
        answer = await client.get("/v1/models", headers=theirs)
        assert answer.headers["Access-Control-Allow-Origin"] == "https://shop.example"
        assert "Access-Control-Allow-Credentials" not in answer.headers
        assert (await client.options("/v1/classify", headers=asking)).status_code == 200
        others = await client.get("/v1/models", headers={"Origin": "https://evil.example"})
        assert "Access-Control-Allow-Origin" not in others.headers
