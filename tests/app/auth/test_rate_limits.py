"""Rate limits of callers, with counters in the process and in a Redis that cannot be reached."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path

import pytest

from app.auth.keys import Role, add_key
from app.auth.rate_limits import RateLimits, _redis_storage
from app.errors import RateLimited
from tests.support.asgi import Serve, unreadable_body
from tests.support.clocks import wall_clock
from tests.support.encoded_images import encoded

pytestmark = pytest.mark.anyio

IMAGE = encoded()


async def test_every_response_has_ratelimit_headers_and_excess_is_429(serve: Serve) -> None:
    async with serve(rate_limit="2/hour") as client:
        first = await client.post("/v1/classify", content=IMAGE)
        assert first.headers["RateLimit-Policy"] == '"3600s";q=2;w=3600'
        assert first.headers["RateLimit"].startswith('"3600s";r=1;t=')
        assert (await client.post("/v1/classify", content=b"no image")).status_code == 415
        rejected = await client.post("/v1/classify", content=IMAGE)
        assert (rejected.status_code, rejected.json()["code"]) == (429, "rate_limited")
        assert rejected.headers["RateLimit"].startswith('"3600s";r=0;t=')
        assert rejected.headers["RateLimit"] == f'"3600s";r=0;t={rejected.headers["Retry-After"]}'
        page = await client.post("/", files={"file": IMAGE})
        assert (page.status_code, "The rate limit is 2 per 1 hour" in page.text) == (429, True)
        assert (await client.get("/livez")).status_code == 200
        assert 'requests_rejected_total{reason="rate_limited"} 2.0' in (await client.get("/metrics")).text


async def test_window_begins_with_its_first_request_and_is_not_extended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, limits = wall_clock(monkeypatch), RateLimits("3/minute; 5/hour", "")
    began = clock.now
    for seconds, left, reset in ((0, 2, 60), (59, 1, 1), (59.5, 0, 1), (60, 2, 60), (70, 1, 50)):
        clock.now = began + seconds
        assert (await limits.hit("a"))["RateLimit"].startswith(f'"60s";r={left};t={reset},'), f"after {seconds} s"
    with pytest.raises(RateLimited) as rejected:
        await limits.hit("a")
    assert rejected.value.retry_after_s == 3530, "the hour is used up"
    clock.now = began + 3600
    assert await limits.hit("a") == {
        "RateLimit-Policy": '"60s";q=3;w=60, "3600s";q=5;w=3600',
        "RateLimit": '"60s";r=2;t=60, "3600s";r=4;t=3600',
    }


async def test_callers_do_not_share_a_window() -> None:
    limits = RateLimits("1/hour", "")
    await limits.hit("a")
    await limits.hit("b")
    with pytest.raises(RateLimited):
        await limits.hit("a")
    assert await RateLimits("", "").hit("a") == {}


async def test_retry_after_of_a_long_window_is_not_capped(serve: Serve) -> None:
    async with serve(rate_limit="1/month") as client:  # 30 days from the first request, so the window does not end now
        statuses = [(await client.get("/v1/models")).status_code for _ in range(2)]
        rejected = await client.get("/v1/models")
    assert statuses == [200, 429]
    assert int(rejected.headers["Retry-After"]) > 2_000_000


async def test_rejection_by_a_short_limit_does_not_count_for_longer_ones(serve: Serve) -> None:
    async with serve(rate_limit="5/month; 1/day") as client:
        responses = [await client.get("/v1/models") for _ in range(3)]
    assert [response.status_code for response in responses] == [200, 429, 429]
    assert all('"2592000s";r=4' in response.headers["RateLimit"] for response in responses)
    assert 60 < int(responses[-1].headers["Retry-After"]) <= 24 * 3600


@pytest.mark.parametrize("has_keys", [False, True])
async def test_form_beyond_the_limit_is_rejected_before_it_is_read(
    serve: Serve, keys_file: Path, key: str, has_keys: bool
) -> None:
    form = {"Content-Type": "multipart/form-data; boundary=b"}
    async with serve(rate_limit="1/hour", api_keys_file=keys_file if has_keys else None) as client:
        first = await client.post("/", files={"file": IMAGE}, data={"key": key})
        assert (first.status_code, first.headers["RateLimit"][:11]) == (200, '"3600s";r=0')
        rejected = await client.post("/", content=unreadable_body(), headers=form)
        assert (rejected.status_code, "The rate limit is 1 per 1 hour" in rejected.text) == (429, True)
        assert rejected.headers["RateLimit"] == f'"3600s";r=0;t={rejected.headers["Retry-After"]}'


async def test_each_key_has_its_own_limit(serve: Serve, keys_file: Path, key: str) -> None:
    other = add_key(keys_file, "phone", Role.USER)
    async with serve(api_keys_file=keys_file, rate_limit="1/hour") as client:

        async def status(key: str) -> int:
            return (await client.get("/v1/models", headers={"X-API-Key": key})).status_code

        assert [await status(key), await status(key), await status(other)] == [200, 429, 200]


@pytest.mark.parametrize("wrong", [{}, {"X-API-Key": "wrong"}], ids=["none", "wrong"])
async def test_wrong_keys_count_for_the_address_and_not_for_valid_keys(
    serve: Serve, keys_file: Path, key: str, wrong: dict[str, str]
) -> None:
    async with serve(api_keys_file=keys_file, rate_limit="2/hour") as client:
        responses = [await client.post("/v1/classify", content=unreadable_body(), headers=wrong) for _ in range(3)]
        assert [response.status_code for response in responses] == [401, 401, 429]
        remaining = [response.headers["RateLimit"][:11] for response in responses]
        assert remaining == ['"3600s";r=1', '"3600s";r=0', '"3600s";r=0']
        assert responses[0].headers["WWW-Authenticate"].startswith("Bearer")
        assert int(responses[-1].headers["Retry-After"]) > 60
        right = await client.get("/v1/models", headers={"X-API-Key": key})
        assert (right.status_code, right.headers["RateLimit"][:11]) == (200, '"3600s";r=1')


async def test_unreachable_redis_leaves_each_server_its_own_count(serve: Serve) -> None:
    async with serve(rate_limit="2/hour", rate_limit_url="redis://127.0.0.1:1") as client:
        statuses = [(await client.get("/v1/models")).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]


async def test_redis_that_does_not_respond_is_not_tried_again_at_once(serve: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.setblocking(False)
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        async with serve(rate_limit="9/hour", rate_limit_url=url) as client:
            assert (await client.get("/v1/models")).status_code == 200
            assert _accept_all(silent) > 0
            responses = [await client.get("/v1/models") for _ in range(3)]
            assert _accept_all(silent) == 0
    assert [response.headers["RateLimit"][:11] for response in responses] == [f'"3600s";r={left}' for left in (7, 6, 5)]


def _accept_all(listener: socket.socket) -> int:
    """Accept and close the connections that wait at `listener`; return their number."""
    count = 0
    with suppress(BlockingIOError):
        while True:
            listener.accept()[0].close()
            count += 1
    return count


def test_redis_that_does_not_respond_is_given_up_after_half_a_second() -> None:
    options = _redis_storage("redis://127.0.0.1:1").bridge.storage.get_connection_kwargs()  # type: ignore[attr-defined]
    assert (options["socket_timeout"], options["socket_connect_timeout"]) == (0.5, 0.5)
