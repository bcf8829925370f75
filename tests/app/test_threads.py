"""Threads beside the event loop."""

from __future__ import annotations

import asyncio
import threading
from base64 import b64encode

import httpx
import pytest

from app.base64_images import decode_base64
from tests.support.encoded_images import encoded
from tests.support.polling import eventually

pytestmark = pytest.mark.anyio

_REQUESTS = 64  # more than any pool has threads


async def test_slow_parsing_leaves_the_default_threads_to_the_server(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, parsing = threading.Event(), []

    def slow_decode_base64(text: str) -> bytes:
        parsing.append(text)
        go.wait(30)
        return decode_base64(text)

    async def is_busy() -> bool:
        return bool(parsing)

    monkeypatch.setattr("app.uploads.image.decode_base64", slow_decode_base64)
    body = {"image": b64encode(encoded()).decode()}
    requests = [asyncio.create_task(client.post("/v1/classify", json=body)) for _ in range(_REQUESTS)]
    try:
        await eventually(is_busy)
        name = await asyncio.wait_for(asyncio.to_thread(lambda: threading.current_thread().name), 10)
        assert not name.startswith("request")
        assert (await client.get("/static/page.css")).status_code == 200
        assert len(parsing) < _REQUESTS
    finally:
        go.set()
        assert {response.status_code for response in await asyncio.gather(*requests)} == {200}
