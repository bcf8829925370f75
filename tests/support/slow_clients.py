"""Clients that are slow on purpose."""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def slowly(items: Iterable[T], pause_s: float) -> Iterator[T]:
    """Yield what a client sends, with a pause between each two items."""
    for number, item in enumerate(items):
        if number and pause_s:
            time.sleep(pause_s)
        yield item


def at_intervals(pause_s: float) -> Iterator[None]:
    """Yield without end: once for each request of a client that pauses between two of them."""
    return slowly(itertools.repeat(None), pause_s)


def read_slowly(connection: socket.socket, size: int, pause_s: float, seconds: float) -> bytes:
    """Read at most `size` bytes after each pause, for some time; return them."""
    received, end = bytearray(), time.monotonic() + seconds
    for _ in at_intervals(pause_s):
        if time.monotonic() >= end:
            break
        received += connection.recv(size)
    return bytes(received)
