"""Clients that disconnect during their upload, while they wait for the response, or while they receive it."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from enum import StrEnum
from urllib.parse import urlsplit

_HEAD_END = b"\r\n\r\n"
_OK_START = b"HTTP/1.1 200"
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 seconds
# With a receive buffer and segments this small, a client has not received all of a 10 kB response when it reads the
# first bytes.
_RECEIVE_BUFFER_BYTES, _MAX_SEGMENT_BYTES = 2048, 400


class DisconnectPhase(StrEnum):
    """Phase of the request in which a client disconnects."""

    UPLOAD = "mid-upload"
    QUEUE = "mid-queue"
    RESPONSE = "mid-answer"


async def disconnect(url: str, message: bytes, phase: DisconnectPhase, rng: random.Random, max_wait_s: float) -> bool:
    """Connect, send a request, and disconnect; half of the calls close the connection, the others reset it.

    Args:
        url: address of the server.
        message: a complete encoded request.
        phase: in which to disconnect.
        rng: draws how much is sent and how long to wait.
        max_wait_s: longest wait before the disconnect, except in the response phase.

    Returns:
        True if the disconnect happened in this phase; False if the server was faster or rejected the request.
    """
    with socket.socket() as connection:
        connection.setblocking(False)
        if rng.random() < 0.5:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        if phase is DisconnectPhase.RESPONSE:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _MAX_SEGMENT_BYTES)
        try:
            return await _send_and_wait(connection, url, message, phase, rng.random(), rng.uniform(0, max_wait_s))
        except OSError:
            return False


async def _send_and_wait(
    connection: socket.socket, url: str, message: bytes, phase: DisconnectPhase, body_share: float, wait_s: float
) -> bool:
    """Go to the phase in which the caller disconnects; return True if it was reached."""
    loop, address = asyncio.get_running_loop(), urlsplit(url)
    body_start = message.index(_HEAD_END) + len(_HEAD_END)
    is_upload = phase is DisconnectPhase.UPLOAD
    end = body_start + int(body_share * (len(message) - body_start)) if is_upload else len(message)
    await loop.sock_connect(connection, (address.hostname, address.port))
    await loop.sock_sendall(connection, message[:end])
    if phase is DisconnectPhase.RESPONSE:
        return (await loop.sock_recv(connection, len(_OK_START))) == _OK_START
    await asyncio.sleep(wait_s)
    return not _has_received(connection)


def _has_received(connection: socket.socket) -> bool:
    """Return True if there is something to read, or the connection is closed."""
    try:
        connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    return True
