"""The form of the page where keys are configured: what it may cost before its key has been checked."""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from app.state import AppState
from tests.support.asgi import Serve, app_of, unreadable_body
from tests.support.encoded_images import encoded
from tests.support.polling import eventually
from tests.support.processes import TINY_SERVER, server
from tests.support.raw_http import connected, exchange, head, read_answer

pytestmark = pytest.mark.anyio

IMAGE = encoded()
FORM = {"Content-Type": "multipart/form-data; boundary=b"}
MAX_KEYLESS_BYTES = 16 * 1024


def field(name: str, value: str) -> bytes:
    return f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()


def file(content: bytes = IMAGE) -> bytes:
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
    return head + content + b"\r\n"


END = b"--b--\r\n"


class Sender:
    """A body that counts how many of its pieces the server has read; it never ends."""

    def __init__(self, beginning: bytes, piece: bytes) -> None:
        self.beginning, self.piece, self.pieces = beginning, piece, 0

    async def body(self) -> AsyncIterator[bytes]:
        yield self.beginning
        while True:
            self.pieces += 1
            yield self.piece


def state_of(client: httpx.AsyncClient) -> AppState:
    state: AppState = app_of(client).state.app_state
    return state


def send_stalled_form(address: str, has_sent: threading.Barrier, go: threading.Event) -> int:
    """Send a form of 18 MB without a key, but its end only once `go` is set; return the status of the response."""
    body = file(bytes(18_200_000))
    with connected(address) as connection:
        with suppress(ConnectionError):
            connection.sendall(head("/", **FORM, Content_Length=len(body) + len(END)) + body)
        has_sent.wait(60)
        go.wait(60)
        with suppress(ConnectionError):
            connection.sendall(END)
        return read_answer(connection).status


def test_fourteen_strangers_with_large_forms_cost_keyed_requests_nothing(
    tiny_store: Path, keys_file: Path, key: str
) -> None:
    has_sent, go, image = threading.Barrier(15), threading.Event(), IMAGE + bytes(2_000_000)
    request = head(X_API_Key=key, Content_Length=len(image)) + image
    with (
        server(TINY_SERVER, APP_STORE=str(tiny_store), APP_API_KEYS_FILE=str(keys_file)) as process,
        ThreadPoolExecutor(14) as pool,
    ):
        address = process.address()
        strangers = [pool.submit(send_stalled_form, address, has_sent, go) for _ in range(14)]
        try:
            has_sent.wait(60)
            assert [exchange(address, request).status for _ in range(20)] == [200] * 20
        finally:
            go.set()
        assert {stranger.result() for stranger in strangers} == {401}


async def test_file_before_the_key_is_rejected_as_soon_as_it_begins(serve: Serve, keys_file: Path, key: str) -> None:
    async with serve(api_keys_file=keys_file) as client:
        sender = Sender(field("model", "colours") + file()[:150], b"\0")
        response = await client.post("/", content=sender.body(), headers=FORM)
        assert response.status_code == 401
        assert sender.pieces <= 1
        assert "An API key is required." in response.text
        assert 'name="key"' in response.text
        late = await client.post("/", content=file() + field("key", key) + END, headers=FORM)
        assert late.status_code == 401


@pytest.mark.parametrize("key_field", [field("key", "wrong"), field("key", "")])
async def test_wrong_key_is_rejected_before_the_file_is_read(
    serve: Serve, keys_file: Path, key: str, key_field: bytes
) -> None:
    async with serve(api_keys_file=keys_file) as client:
        sender = Sender(key_field + file()[:150], b"\0" * 1000)
        response = await client.post("/", content=sender.body(), headers=FORM)
        assert response.status_code == 401
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
        assert sender.pieces <= 1


@pytest.mark.parametrize("beginning", [b"", b"preamble ", field("model", "x" * 300), field("key", "k" * 50_000)[:-9]])
async def test_form_without_a_key_is_read_to_16_kb_at_most(
    serve: Serve, keys_file: Path, key: str, beginning: bytes
) -> None:
    async with serve(api_keys_file=keys_file) as client:
        sender = Sender(beginning, b"x" * 1024)
        response = await client.post("/", content=sender.body(), headers=FORM)
        assert response.status_code in (400, 401)
        assert sender.pieces <= MAX_KEYLESS_BYTES / 1024 + 1


@pytest.mark.parametrize(
    "headers",
    [{}, {"Content-Type": "image/png"}, {"Content-Type": "application/json"}, {**FORM, "Content-Encoding": "gzip"}],
)
async def test_body_that_cannot_begin_with_a_key_is_not_read(
    serve: Serve, keys_file: Path, key: str, headers: dict[str, str]
) -> None:
    async with serve(api_keys_file=keys_file) as client:
        assert (await client.post("/", content=unreadable_body(), headers=headers)).status_code == 401


async def test_wrong_key_in_a_header_is_rejected_before_the_form_is_read(
    serve: Serve, keys_file: Path, key: str
) -> None:
    async with serve(api_keys_file=keys_file) as client:
        response = await client.post("/", content=unreadable_body(), headers={**FORM, "X-API-Key": "wrong"})
        assert (response.status_code, "Invalid API key" in response.text) == (401, True)


async def test_key_in_a_header_allows_any_form(serve: Serve, keys_file: Path, key: str) -> None:
    async with serve(api_keys_file=keys_file) as client:
        for body, headers in ((file() + END, {}), (gzip.compress(file() + END), {"Content-Encoding": "gzip"})):
            response = await client.post("/", content=body, headers={**FORM, "X-API-Key": key, **headers})
            assert (response.status_code, "red" in response.text) == (200, True)


async def test_form_moves_to_the_large_budget_with_its_key(serve: Serve, keys_file: Path, key: str) -> None:
    go = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield field("key", key)[:-10]
        await go.wait()
        yield field("key", key)[-10:] + file()[:5000]
        await go.wait()
        yield file()[5000:] + END

    async with serve(api_keys_file=keys_file) as client:
        state = state_of(client)

        async def is_held(keyless: int, total: int) -> bool:
            return (state.keyless_budget.used_bytes > 0, state.budget.used_bytes > 0) == (keyless, total)

        response = asyncio.create_task(client.post("/", content=body(), headers=FORM))
        await eventually(lambda: is_held(True, False))
        go.set()
        await eventually(lambda: is_held(False, True))
        assert (await response).status_code == 200
        assert await is_held(False, False)


async def test_key_field_comes_before_the_file_on_the_page(serve: Serve, keys_file: Path, key: str) -> None:
    async with serve(api_keys_file=keys_file) as client:
        html = (await client.get("/")).text
        assert 0 < html.index('name="key"') < html.index('name="file"')


@pytest.mark.parametrize("value", ["\t{}\t", " {} ", "\t {}"])
@pytest.mark.parametrize("scheme", ["X-API-Key: ", "Authorization: Bearer ", "Authorization:\tBearer  "])
async def test_whitespace_around_a_key_is_ignored(
    serve: Serve, keys_file: Path, key: str, scheme: str, value: str
) -> None:
    name, _, prefix = scheme.partition(":")
    header = (name.encode(), f"{prefix}{value.format(key)}".encode())
    async with serve(api_keys_file=keys_file) as client:
        request = client.build_request("GET", "/v1/models")
        request.headers = httpx.Headers([*request.headers.raw, header])
        assert (await client.send(request)).status_code == 200
