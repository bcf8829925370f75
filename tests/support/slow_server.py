"""A deliberately slow HTTP server in a thread of this process."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.stream_server import stream_server

SLOW_S = 0.02
"""Seconds for each request; requests are answered one after another."""


@contextmanager
def slow_server() -> Iterator[str]:
    """Run the server until the block ends; yield its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        loop = asyncio.new_event_loop()
        end = asyncio.Event()
        thread = threading.Thread(target=loop.run_until_complete, args=(_serve(listener, end),), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        loop.call_soon_threadsafe(end.set)
        thread.join(10)
        loop.close()


async def _serve(listener: socket.socket, end: asyncio.Event) -> None:
    one_at_a_time = asyncio.Lock()

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = next(line for line in head.split(b"\r\n") if line.startswith(b"Content-Length: "))
            await reader.readexactly(int(length.split()[1]))
            async with one_at_a_time:
                await asyncio.sleep(SLOW_S)
            writer.write(b"HTTP/1.1 200 OK\r\nRetry-After: 1\r\nContent-Length: 2\r\n\r\n{}")

    async with stream_server(respond, listener):
        await end.wait()
