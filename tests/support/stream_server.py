"""A TCP server on asyncio streams that leaves no connection behind."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

Connected = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def stream_server(serve: Connected, listener: socket.socket) -> AsyncIterator[None]:
    """Call `serve` for each connection to `listener` until the block ends; then close the listener and all connections.

    `asyncio.start_server` alone closes only the listener: a connection whose handler has not ended
    when the event loop is closed is an unclosed transport, reported by the garbage collector in a later test.
    """
    connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await serve(reader, writer)
        writer.close()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections[asyncio.create_task(handle(reader, writer))] = writer

    async with await asyncio.start_server(connected, sock=listener) as server:
        try:
            yield
        finally:
            server.close()
            await asyncio.sleep(0.01)  # connections accepted a moment ago reach `connected`
            for task, writer in connections.items():
                task.cancel()
                writer.close()
            await asyncio.gather(
                *connections, *(_closed(writer) for writer in connections.values()), return_exceptions=True
            )


async def _closed(writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        await writer.wait_closed()
