"""Too much work, impatient clients, and the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.state import AppState
from tests.app.conftest import Serve, eventually
from tests.support.encoded_images import encoded
from tests.support.tiny_app import ColourEngine

pytestmark = pytest.mark.anyio

PICTURE = encoded()
_DEPTH = 'classifier_queue_depth{extractor="near_net"}'


def send(client: httpx.AsyncClient, **headers: str) -> asyncio.Task[httpx.Response]:
    return asyncio.create_task(client.post("/v1/classify", content=PICTURE, headers=headers))


def app_of(client: httpx.AsyncClient) -> FastAPI:
    app: FastAPI = client._transport.app  # type: ignore[attr-defined]
    return app


async def hold(engine: ColourEngine, client: httpx.AsyncClient) -> asyncio.Task[httpx.Response]:
    """A request that stays in the engine until it is let go."""
    engine.go.clear()
    first = send(client)
    await asyncio.to_thread(engine.began.acquire)
    return first


async def sample(client: httpx.AsyncClient, line: str) -> float:
    text = (await client.get("/metrics")).text
    return next((float(each.rsplit(" ", 1)[1]) for each in text.splitlines() if each.startswith(line)), 0)


async def queued(client: httpx.AsyncClient, pictures: int) -> None:
    async def holds() -> bool:
        return await sample(client, _DEPTH) == pictures

    await eventually(holds)


async def test_requests_that_wait_share_a_batch(serve: Serve, engine: ColourEngine) -> None:
    async with serve(max_batch=8) as client:
        first = await hold(engine, client)
        rest = [send(client) for _ in range(5)]
        await queued(client, 5)
        engine.go.set()
        answers = [response.json() for response in await asyncio.gather(first, *rest)]
    assert [answer["batch_size"] for answer in answers] == [1, 5, 5, 5, 5, 5]
    assert all(answer["predictions"][0]["label"] == "red" for answer in answers)


async def test_overload_is_refused_at_once_and_says_when_to_come_back(serve: Serve, engine: ColourEngine) -> None:
    async with serve(queue_size=2) as client:
        accepted = [await hold(engine, client), send(client)]
        await queued(client, 1)
        refused = await asyncio.wait_for(send(client), 10)
        assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
        assert int(refused.headers["Retry-After"]) >= 1
        assert await sample(client, 'classifier_requests_rejected_total{reason="overloaded"}') == 1
        engine.go.set()
        assert [response.status_code for response in await asyncio.gather(*accepted)] == [200, 200]
        assert (await send(client)).status_code == 200


@pytest.mark.parametrize(
    "path",
    ["/v1/classify", "/v1/classify/batch", "/v1/embed", "/predictions/colours", "/v2/models/colours/infer"],
)
async def test_where_there_is_no_room_a_body_is_not_waited_for(serve: Serve, engine: ColourEngine, path: str) -> None:
    async def body_that_never_comes() -> AsyncIterator[bytes]:
        yield PICTURE[:10]
        await asyncio.sleep(3600)

    async with serve(queue_size=1) as client:
        accepted = await hold(engine, client)
        refused = await asyncio.wait_for(client.post(path, content=body_that_never_comes()), 10)
        assert refused.status_code == 503
        engine.go.set()
        assert (await accepted).status_code == 200


async def test_a_bad_picture_gives_its_place_back(serve: Serve) -> None:
    async with serve(queue_size=1) as client:
        for _ in range(3):
            assert (await client.post("/v1/classify", content=PICTURE[:100])).status_code == 422
        assert (await send(client)).status_code == 200


async def test_a_deadline_that_passes_while_waiting_is_504(serve: Serve, engine: ColourEngine) -> None:
    async with serve() as client:
        await app_of(client).state.held.service.decoders.warm()  # else it is learned that pictures take so long
        first = await hold(engine, client)
        late = await asyncio.wait_for(send(client, **{"X-Request-Timeout-Ms": "500"}), 10)
        assert (late.status_code, late.json()["code"]) == (504, "deadline_exceeded")
        engine.go.set()
        assert (await first).status_code == 200
        assert sum(engine.sizes) == 1
        assert await sample(client, 'classifier_requests_rejected_total{reason="deadline_exceeded"}') == 1


async def test_the_default_deadline_is_a_setting(serve: Serve, engine: ColourEngine) -> None:
    async with serve(deadline_ms=50) as client:
        engine.go.clear()
        assert (await asyncio.wait_for(send(client), 10)).status_code == 504
        engine.go.set()


@pytest.mark.parametrize("path", ["/v1/classify", "/"])
async def test_a_client_that_hangs_up_while_queued_costs_no_run(serve: Serve, engine: ColourEngine, path: str) -> None:
    async with serve() as client:
        first = await hold(engine, client)
        sent: list[dict[str, Any]] = []
        hang_up = asyncio.Event()
        body = iter([{"type": "http.request", "body": PICTURE, "more_body": False}])

        async def receive() -> dict[str, Any]:
            for message in body:
                return message
            await hang_up.wait()
            return {"type": "http.disconnect"}

        async def send_to_nobody(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [],
            "http_version": "1.1",
            "scheme": "http",
            "server": ("server", 80),
            "client": ("client", 1),
            "root_path": "",
        }
        request = asyncio.create_task(app_of(client)(scope, receive, send_to_nobody))
        await queued(client, 1)
        hang_up.set()
        await asyncio.wait_for(request, 10)
        assert await sample(client, _DEPTH) == 0
        assert await sample(client, "classifier_requests_cancelled_total") == 1
        engine.go.set()
        assert (await first).status_code == 200
        assert (await send(client)).status_code == 200
        assert engine.sizes == [1, 1]


async def test_a_fault_of_ours_is_500_without_a_word_about_it(
    serve: Serve, engine: ColourEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serve() as client:
        engine.broken = True
        response = await client.post("/v1/classify", content=PICTURE, headers={"X-Request-ID": "abc"})
        engine.broken = False
        assert (await send(client)).status_code == 200
    assert (response.status_code, response.json()["code"]) == (500, "internal_error")
    assert response.headers["X-Request-ID"] == "abc"
    assert "ZeroDivision" not in response.text
    logged = capsys.readouterr().out
    assert "ZeroDivision" in logged
    assert "abc" in logged


async def test_draining_refuses_new_work_and_finishes_the_old(serve: Serve, engine: ColourEngine) -> None:
    async with serve() as client:
        first = await hold(engine, client)
        state: AppState = app_of(client).state.held
        state.lifecycle.drain()
        refused = await send(client)
        assert (refused.status_code, refused.json()["code"]) == (503, "draining")
        assert "Retry-After" in refused.headers
        assert refused.headers["Connection"] == "close"
        assert (await client.get("/livez")).status_code == 200
        assert (await client.get("/readyz")).status_code == 503
        assert (await client.get("/")).status_code == 503
        assert state.lifecycle.in_flight == 1
        engine.go.set()
        assert (await first).status_code == 200
        assert state.lifecycle.in_flight == 0
