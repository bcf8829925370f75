"""The transport of a connection, on real sockets and at times that the tests choose."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator

import pytest

from app.server.connection import Connection
from tests.support.polling import eventually

pytestmark = pytest.mark.anyio

STALL_S = 20.0
LINGER_S = 30.0
LINGER_BYTES = 128 * 1024**2


class Exchange(asyncio.Protocol):
    """A connection of the server, what it has received, and the socket of its client."""

    def __init__(self, client: socket.socket) -> None:
        self.client, self.received, self.still_sends = client, b"", True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.connection = Connection(transport, lambda: self.still_sends, STALL_S)

    def data_received(self, data: bytes) -> None:
        self.received += data

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.client, data)

    async def receives(self, data: bytes) -> bool:
        """Return whether the server has received these bytes after the loop has had time to read them."""
        for _ in range(10):
            await asyncio.sleep(0)
        return self.received == data

    async def wait_until_received(self, data: bytes) -> None:
        """Wait until the server has received these bytes; raises TimeoutError."""
        await asyncio.wait_for(eventually(lambda: self.receives(data)), 10)

    async def read(self, count: int = 65536) -> bytes:
        """Return what the client receives; raises ConnectionResetError."""
        return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.client, count), 10)


@pytest.fixture
async def exchange() -> AsyncIterator[Exchange]:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as client:
        client.setblocking(False)
        accepted, _ = listener.accept()
        _, exchange = await loop.connect_accepted_socket(lambda: Exchange(client), accepted)
        yield exchange
        exchange.transport.abort()
        await asyncio.sleep(0)


async def test_client_that_still_sends_gets_the_end_of_the_response_at_once(exchange: Exchange) -> None:
    exchange.connection.hold_reading()
    exchange.connection.pause_reading()
    exchange.connection.write(b"response")
    exchange.connection.close()
    exchange.connection.write(b"too late")
    assert exchange.connection.lingers
    assert exchange.connection.is_closing()
    assert (await exchange.read(), await exchange.read()) == (b"response", b"")
    await exchange.send(b"more")
    await exchange.wait_until_received(b"more")
    exchange.connection.close()
    assert not exchange.transport.is_closing(), "still reading"


async def test_client_that_has_sent_everything_is_disconnected(exchange: Exchange) -> None:
    exchange.still_sends = False
    exchange.connection.write(b"response")
    exchange.connection.close()
    assert (exchange.connection.lingers, exchange.transport.is_closing()) == (False, True)
    assert (await exchange.read(), await exchange.read()) == (b"response", b"")


async def test_linger_is_limited_to_30_seconds(exchange: Exchange) -> None:
    before = time.monotonic()
    exchange.connection.close()
    after = time.monotonic()
    exchange.connection.check_progress(before + LINGER_S)
    assert not exchange.transport.is_closing()
    exchange.connection.check_progress(after + LINGER_S + 0.001)
    assert exchange.transport.is_closing()


async def test_linger_is_limited_to_128_megabytes(exchange: Exchange) -> None:
    exchange.connection.close()
    for size in (1, LINGER_BYTES - 1):
        exchange.connection.discard(size)
    assert not exchange.transport.is_closing()
    exchange.connection.discard(1)
    assert exchange.transport.is_closing()


async def test_client_that_does_not_read_is_disconnected_after_the_stall_timeout(exchange: Exchange) -> None:
    now = time.monotonic()
    await fill(exchange)
    for seconds in (1, 1 + STALL_S):
        exchange.connection.check_progress(now + seconds)
        assert not exchange.connection.is_closing()
    exchange.connection.check_progress(now + 1.001 + STALL_S)
    assert exchange.connection.is_closing()
    assert exchange.transport.is_closing()


async def test_client_that_reads_a_part_in_time_is_kept(exchange: Exchange) -> None:
    now = time.monotonic()
    await fill(exchange)
    unsent = exchange.transport.get_write_buffer_size()
    exchange.connection.check_progress(now)
    while exchange.transport.get_write_buffer_size() == unsent:
        await exchange.read(1_000_000)
        await asyncio.sleep(0)
    assert exchange.transport.get_write_buffer_size() > 0
    exchange.connection.check_progress(now + STALL_S)
    exchange.connection.check_progress(now + 2 * STALL_S)
    assert not exchange.connection.is_closing()
    exchange.connection.check_progress(now + 2 * STALL_S + 0.001)
    assert exchange.connection.is_closing()


async def test_idle_connection_is_not_stalled(exchange: Exchange) -> None:
    for seconds in (0, 1000, 2000):
        exchange.connection.check_progress(time.monotonic() + seconds)
    assert not exchange.connection.is_closing()


async def fill(exchange: Exchange) -> None:
    """Write more than the buffers of the kernel hold."""
    exchange.connection.write(bytes(40_000_000))
    for _ in range(10):
        await asyncio.sleep(0)
    assert exchange.transport.get_write_buffer_size() > 10_000_000


async def test_input_is_read_while_reading_is_neither_paused_nor_held(exchange: Exchange) -> None:
    connection = exchange.connection
    connection.pause_reading()
    connection.hold_reading()
    await exchange.send(b"a")
    connection.resume_reading()
    assert await exchange.receives(b""), "held"
    connection.pause_reading()
    connection.release_reading()
    assert await exchange.receives(b""), "paused"
    connection.resume_reading()
    await exchange.wait_until_received(b"a")
    connection.hold_reading()
    await exchange.send(b"b")
    assert await exchange.receives(b"a"), "held"
    connection.release_reading()
    await exchange.wait_until_received(b"ab")


async def test_aborted_connection_sends_nothing_more(exchange: Exchange, caplog: pytest.LogCaptureFixture) -> None:
    await fill(exchange)
    exchange.connection.abort()
    assert exchange.connection.is_closing()
    for _ in range(10):
        exchange.connection.write(b"too late")
    exchange.connection.close()
    assert not exchange.connection.lingers
    assert caplog.messages == [], "asyncio warns of writes to a connection that is lost"


async def test_client_that_has_left_is_noticed_while_reading_is_held(exchange: Exchange) -> None:
    exchange.connection.hold_reading()
    assert not exchange.connection.client_has_left()
    exchange.client.close()

    async def has_left() -> bool:
        return exchange.connection.client_has_left()

    await asyncio.wait_for(eventually(has_left), 10)
