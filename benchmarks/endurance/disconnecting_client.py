"""Clients that hang up: in mid-upload, while they wait for their answer, or in the middle of it."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from enum import StrEnum
from urllib.parse import urlsplit

_HEAD_ENDS = b"\r\n\r\n"
_GOOD = b"HTTP/1.1 200"
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, for no time
# A client that takes no more than this at a time has not got all of an answer of 10 kB when its first bytes are there.
_NARROW_BYTES, _NARROW_SEGMENT = 2048, 400


class When(StrEnum):
    """The moment at which a client hangs up."""

    UPLOAD = "mid-upload"
    QUEUE = "mid-queue"
    ANSWER = "mid-answer"


async def leave(url: str, message: bytes, when: When, chance: random.Random, patience_s: float) -> bool:
    """Connect, ask, and hang up; one half closes the connection, the other resets it.

    Args:
        url: of the server.
        message: a whole request.
        when: to hang up.
        chance: how much is sent, and how long is waited.
        patience_s: in mid-upload and mid-queue, how long is waited at most.

    Returns:
        Whether it was at that moment: not if the server was faster, or has refused.
    """
    with socket.socket() as connection:
        connection.setblocking(False)
        if chance.random() < 0.5:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        if when is When.ANSWER:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _NARROW_BYTES)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _NARROW_SEGMENT)
        try:
            return await _ask(connection, url, message, when, chance.random(), chance.uniform(0, patience_s))
        except OSError:
            return False


async def _ask(connection: socket.socket, url: str, message: bytes, when: When, part: float, patience_s: float) -> bool:
    loop, address = asyncio.get_running_loop(), urlsplit(url)
    body = message.index(_HEAD_ENDS) + len(_HEAD_ENDS)
    sent = body + int(part * (len(message) - body)) if when is When.UPLOAD else len(message)
    await loop.sock_connect(connection, (address.hostname, address.port))
    await loop.sock_sendall(connection, message[:sent])
    if when is When.ANSWER:
        return (await loop.sock_recv(connection, len(_GOOD))) == _GOOD
    await asyncio.sleep(patience_s)
    return not _has_come(connection)


def _has_come(connection: socket.socket) -> bool:
    """Whether there is anything to be read."""
    try:
        connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    return True
