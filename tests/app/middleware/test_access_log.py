"""Log lines of requests."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from app.auth.keys import Role, add_key
from app.middleware.access_log import AccessLogMiddleware
from app.request_context import RequestContext, attach_context
from app.state import AppState
from tests.support.asgi import Serve, block_engine, metric_value
from tests.support.colour_engine import ColourEngine
from tests.support.encoded_images import encoded

pytestmark = pytest.mark.anyio

IMAGE = encoded()


@pytest.mark.parametrize("prefix", ["", "/vision"])
async def test_log_has_the_whole_path_of_a_file_without_the_prefix(
    make_app: Callable[..., FastAPI], prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    transport = httpx.ASGITransport(make_app(root_path=prefix), root_path=prefix)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        for path in ("/static/page.css", "/static/swagger/swagger-ui.css", "/static/nosuch"):
            await client.get(f"{prefix}{path}")
            assert f"path={path} " in capsys.readouterr().out


def fields_of(output: str, path: str) -> dict[str, str]:
    """Return the fields of the only line of a path."""
    (line,) = (line for line in output.splitlines() if f"path={path} " in line)
    return {"level": line.partition("[")[2].split()[0]} | dict(re.findall(r"(\S+)=(\S+)", line))


async def test_log_has_the_bytes_and_the_status_of_a_request(
    own_client: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    trace = f"00-{'a' * 32}-{'b' * 16}-01"

    async def chunks() -> AsyncIterator[bytes]:
        yield IMAGE[:100]
        yield IMAGE[100:]

    response = await own_client.post("/v1/classify", content=chunks(), headers={"traceparent": trace})
    logged = fields_of(capsys.readouterr().out, "/v1/classify")
    assert (logged["bytes_in"], logged["bytes_out"]) == (str(len(IMAGE)), str(len(response.content)))
    assert (logged["level"], logged["method"], logged["status"]) == ("info", "POST", "200")
    assert (logged["request_id"], logged["traceparent"]) == (response.headers["X-Request-ID"], trace)
    await own_client.get("/livez", headers={"traceparent": f"{trace}-more"})
    logged = fields_of(capsys.readouterr().out, "/livez")
    assert (logged["level"], "traceparent" in logged) == ("debug", False)


async def test_log_has_the_name_of_the_key(serve: Serve, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "keys"
    key = add_key(path, "laptop", Role.USER)
    async with serve(api_keys_file=path) as client:
        capsys.readouterr()
        response = await client.get("/v1/models", headers={"X-API-Key": key})
        assert response.headers["Cache-Control"] == "no-store"
        output = capsys.readouterr().out
        assert fields_of(output, "/v1/models")["key"] == "laptop"
        assert key not in output
        await client.get("/v1/status", headers={"X-API-Key": "wrong"})
        assert "key" not in fields_of(capsys.readouterr().out, "/v1/status")


async def test_requests_in_flight_are_counted_without_probes(
    own_client: httpx.AsyncClient, engines: dict[str, ColourEngine]
) -> None:
    async def in_flight() -> float:
        return await metric_value(own_client, "classifier_requests_in_flight")

    assert await in_flight() == 0
    running = await block_engine(engines["near_net"], own_client, IMAGE)
    assert await in_flight() == 1
    engines["near_net"].unblocked.set()
    await running
    assert await in_flight() == 0


async def test_duration_is_logged_to_a_tenth_of_a_millisecond(
    own_client: httpx.AsyncClient, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    capsys.readouterr()
    monkeypatch.setattr(RequestContext, "elapsed_s", lambda _context: 0.01234567)
    await own_client.get("/v1/models")
    assert fields_of(capsys.readouterr().out, "/v1/models")["duration_ms"] == "12.3"


async def test_control_characters_of_a_path_are_escaped_in_the_log(
    own_client: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    await own_client.get("/%1B%5B31m%0Ared%C3%A9")
    assert "path=/%1B%5B31m%0Ared%C3%A9 " in capsys.readouterr().out


async def test_unknown_paths_and_methods_are_counted_under_one_name(own_client: httpx.AsyncClient) -> None:
    for path in ("/nowhere", "/elsewhere"):
        await own_client.get(path)
    await own_client.request("REPORT", "/v1/models")
    name = "classifier_requests_total"
    assert await metric_value(own_client, f'{name}{{method="GET",route="unmatched",status="404"}}') == 2
    assert await metric_value(own_client, f'{name}{{method="other",') == 1


@pytest.mark.parametrize("has_started", [False, True])
async def test_error_of_the_app_becomes_a_response_unless_one_has_begun(
    make_app: Callable[..., FastAPI], has_started: bool
) -> None:
    state: AppState = make_app().state.app_state
    sent = list[Message]()

    async def fail(_scope: Scope, _receive: Receive, send: Send) -> None:
        if has_started:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ZeroDivisionError

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""}
    attach_context(scope, RequestContext("id", "/", False, state.budget.lease()))
    call = AccessLogMiddleware(fail, state)(scope, receive, send)
    if has_started:
        with pytest.raises(ZeroDivisionError):
            await call
    else:
        await call
    assert [message.get("status") for message in sent] == ([200] if has_started else [500, None])
