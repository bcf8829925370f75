"""The HTTP protocol of a connection in this process: limits to the byte, and timers on a clock that the tests move."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from app.server.http_protocol import protocol_class
from tests.support.clocks import Clock
from tests.support.raw_http import head

pytestmark = pytest.mark.anyio

TIMEOUT_S = 5
KEEP_ALIVE_S = 75
LIMIT = 16 * 1024
GET = head("/a", "GET")


class Conversation:
    """A connection whose client is this test, and an app that responds when it may."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self._start = clock, clock.now
        self.may_respond, self.requests, self.is_draining = asyncio.Event(), 0, False
        self.reads_body = False
        self.may_respond.set()
        config = uvicorn.Config(
            self._app, interface="asgi3", ws="none", log_config=None, timeout_keep_alive=KEEP_ALIVE_S
        )
        self.protocol = protocol_class(TIMEOUT_S)(config, ServerState(), {})
        self._received = b""
        self.client: socket.socket

    async def _app(self, _scope: Scope, receive: Receive, send: Send) -> None:
        self.requests += 1
        if self.reads_body:
            await receive()
        await self.may_respond.wait()
        headers = [(b"content-length", b"0"), (b"connection", b"close")][: 1 + self.is_draining]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body"})

    async def at(self, seconds: float) -> None:
        """Move the clock and let the timers that are due run, and their tasks."""
        self.clock.now = self._start + seconds
        for _ in range(10):
            await asyncio.sleep(0)

    async def say(self, *pieces: bytes) -> None:
        """Let pieces arrive, as the event loop would deliver them."""
        for piece in pieces:
            self.protocol.data_received(piece)
            await asyncio.sleep(0)
        for _ in range(10):
            await asyncio.sleep(0)

    @property
    def statuses(self) -> list[int]:
        """Return the statuses of all responses so far."""
        try:
            while data := self.client.recv(65536):
                self._received += data
        except BlockingIOError:
            pass
        return [int(response[:3]) for response in self._received.split(b"HTTP/1.1 ")[1:]]

    @property
    def is_closed(self) -> bool:
        return self.protocol.transport.is_closing()


Converse = Callable[[], AbstractAsyncContextManager[Conversation]]


@pytest.fixture
def converse(monkeypatch: pytest.MonkeyPatch) -> Converse:
    """Return a context manager for a connection; the clock of the event loop stands still meanwhile."""

    @asynccontextmanager
    async def connect() -> AsyncIterator[Conversation]:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.create_connection(listener.getsockname())
            accepted, _ = listener.accept()
        with client, monkeypatch.context() as patched:
            clock = Clock(loop.time())
            patched.setattr(loop, "time", clock)
            conversation = Conversation(clock)
            client.setblocking(False)
            conversation.client = client
            await loop.connect_accepted_socket(lambda: conversation.protocol, accepted)
            try:
                yield conversation
            finally:
                conversation.may_respond.set()
                conversation.protocol.transport.abort()
                await conversation.at(0)

    return connect


def head_of(size: int, headers: int = 1) -> bytes:
    """Return a head whose target and headers have `size` bytes, each header with its colon, space and line end."""
    names = [f"h{number}" for number in range(headers)]
    used = len("/a") + sum(len(name) + 4 for name in names) + len("host") + len("localhost") + 4
    values = ["v" * (size - used), *[""] * (headers - 1)]
    return head("/a", "GET", **dict(zip(names, values, strict=True)))


@pytest.mark.parametrize("headers", [1, 500])
async def test_head_may_have_16_kib_and_not_a_byte_more(converse: Converse, headers: int) -> None:
    for size, status in ((LIMIT, 200), (LIMIT + 1, 431)):
        async with converse() as conversation:
            await conversation.say(head_of(size, headers))
            assert (conversation.statuses, conversation.requests) == ([status], int(status == 200))
            assert conversation.is_closed is (status == 431)


async def test_unfinished_head_is_rejected_beyond_16_kib(converse: Converse) -> None:
    async with converse() as conversation:
        large = head_of(LIMIT)
        assert len(large) > LIMIT + 1
        await conversation.say(large[:10_000], large[10_000:LIMIT])
        assert conversation.statuses == []
        await conversation.say(large[LIMIT : LIMIT + 1])
        assert conversation.statuses == [431]


async def test_bytes_of_a_head_count_from_the_end_of_the_previous_request(converse: Converse) -> None:
    async with converse() as conversation:
        for number in range(1, 4):
            await conversation.say(*(head_of(LIMIT - 100)[start : start + 4000] for start in range(0, LIMIT, 4000)))
            assert conversation.statuses == [200] * number


async def test_connection_without_a_request_is_closed_after_the_timeout(converse: Converse) -> None:
    async with converse() as conversation:
        await conversation.at(TIMEOUT_S - 0.01)
        assert not conversation.is_closed
        await conversation.at(TIMEOUT_S + 0.01)
        assert (conversation.statuses, conversation.is_closed) == ([], True)


async def test_connection_between_requests_is_kept_for_the_keep_alive_time(converse: Converse) -> None:
    async with converse() as conversation:
        await conversation.say(GET)
        await conversation.at(KEEP_ALIVE_S - 0.1)
        await conversation.say(GET)
        assert conversation.statuses == [200, 200]
        await conversation.at(2 * KEEP_ALIVE_S - 0.2)
        assert not conversation.is_closed
        await conversation.at(2 * KEEP_ALIVE_S)
        assert conversation.is_closed


async def test_empty_line_between_requests_begins_the_timeout_of_a_head(converse: Converse) -> None:
    async with converse() as conversation:
        await conversation.say(GET, b"\r\n")
        await conversation.at(TIMEOUT_S + 0.1)
        assert (conversation.statuses, conversation.is_closed) == ([200], True)


@pytest.mark.parametrize(
    ("version", "value"), [("1.1", "100-continue"), ("1.1", "100-Continue"), ("1.0", "100-continue")]
)
async def test_body_is_asked_for_in_http_1_1_only(converse: Converse, version: str, value: str) -> None:
    async with converse() as conversation:
        conversation.reads_body = True
        request = head("/a", Expect=value, Content_Length=1).replace(b"HTTP/1.1", b"HTTP/" + version.encode())
        await conversation.say(request)
        assert conversation.statuses == ([100] if version == "1.1" else [])
        await conversation.say(b"a")
        assert conversation.statuses[-1] == 200


async def test_head_has_the_whole_timeout_from_its_first_byte(converse: Converse) -> None:
    async with converse() as conversation:
        await conversation.at(3)
        await conversation.say(GET[:5])
        await conversation.at(7)
        await conversation.say(GET[5:9])
        assert not conversation.is_closed
        await conversation.at(3.01 + TIMEOUT_S)
        assert (conversation.statuses, conversation.is_closed) == ([408], True)


async def test_head_behind_a_running_request_is_not_late_before_its_response(converse: Converse) -> None:
    async with converse() as conversation:
        conversation.may_respond.clear()
        await conversation.say(GET + GET[:5])
        for seconds in range(1, 40):
            await conversation.at(seconds)
        assert (conversation.statuses, conversation.is_closed) == ([], False)
        conversation.may_respond.set()
        await conversation.at(40)
        await conversation.at(40.1 + TIMEOUT_S)
        assert (conversation.statuses, conversation.is_closed) == ([200, 408], True)


async def test_requests_behind_a_running_one_are_never_late(converse: Converse) -> None:
    async with converse() as conversation:
        conversation.may_respond.clear()
        await conversation.say(GET * 2 + GET[:5], GET[5:] + GET * 100 + GET[:5])
        for seconds in range(1, 40):
            await conversation.at(seconds)
        assert (conversation.statuses, conversation.is_closed) == ([], False)
        conversation.may_respond.set()
        for _ in range(30):
            await conversation.at(40)
        assert conversation.statuses == [200] * 103
        await conversation.at(41 + TIMEOUT_S)
        assert conversation.statuses[103:] == [408]


async def test_rest_of_a_body_behind_its_response_has_the_timeout(converse: Converse) -> None:
    async with converse() as conversation:
        await conversation.say(head("/a", Content_Length=9) + b"12")
        assert conversation.statuses == [200]
        await conversation.at(TIMEOUT_S - 0.01)
        assert not conversation.is_closed
        await conversation.at(TIMEOUT_S + 0.01)
        assert conversation.is_closed
        assert conversation.protocol.transport.lingers


async def test_connection_awaits_a_request_until_it_is_complete(converse: Converse) -> None:
    async with converse() as conversation:
        protocol = conversation.protocol
        assert protocol.awaits_request, "the first request"
        await conversation.say(head("/a", Content_Length=3) + b"1")
        assert protocol.awaits_request, "the rest of the body"
        await conversation.say(b"23")
        assert not protocol.awaits_request
        await conversation.say(b"no request\r\n\r\n")
        assert conversation.statuses == [200, 400]
        assert protocol.awaits_request, "lingers"
        protocol.shutdown()
        assert protocol.transport._transport.is_closing()


async def test_shutdown_ends_a_connection_whose_body_no_app_reads(converse: Converse) -> None:
    async with converse() as conversation:
        await conversation.say(head("/a", Content_Length=9) + b"12")
        conversation.protocol.shutdown()
        assert not conversation.protocol.transport.lingers
        assert conversation.protocol.transport._transport.is_closing()


async def test_shutdown_lets_a_running_request_finish(converse: Converse) -> None:
    async with converse() as conversation:
        conversation.may_respond.clear()
        await conversation.say(GET)
        conversation.protocol.shutdown()
        assert not conversation.is_closed
        conversation.may_respond.set()
        await conversation.at(0)
        assert (conversation.statuses, conversation.is_closed) == ([200], True)


@pytest.mark.parametrize(
    ("more", "lingers"),
    [(b"", False), (GET, False), (GET * 100, True)],
    ids=["nothing", "a parsed request", "requests that are held"],
)
async def test_last_response_is_not_lost_while_requests_behind_it_are_held(
    converse: Converse, more: bytes, lingers: bool
) -> None:
    async with converse() as conversation:
        conversation.may_respond.clear()
        await conversation.say(GET + more)
        conversation.is_draining = True
        conversation.may_respond.set()
        await conversation.at(0)
        assert (conversation.statuses, conversation.requests) == ([200], 1)
        assert (conversation.is_closed, conversation.protocol.transport.lingers) == (True, lingers)
