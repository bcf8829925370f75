"""Log lines of requests."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from app.auth.keys import Role, add_key
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
