"""Decode processes for tests: used without an event loop, or with modified parts."""

from __future__ import annotations

import json
import mmap
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from models.arrays import Pixels
from models.decoding import protocol as wishes
from models.decoding.limits import DEFAULT_LIMITS, Limits
from models.decoding.protocol import (
    INLINE,
    READY,
    REQUEST_PREFIX,
    RESPONSE_PREFIX,
    SLOT_BYTES,
    DecodeRequest,
    ResponseHeader,
)
from models.preprocess import PreprocessSpec, split_buffer
from tests.support.paths import ROOT

WAIT_S = 60
SPECS = (PreprocessSpec(size=96, source=32, crop="center"), PreprocessSpec(size=64, crop="none"))
Start = Callable[[socket.socket, IO[bytes]], "subprocess.Popen[bytes]"]


class Decoder:
    """One process, and our end of its connection."""

    def __init__(self, start: Start) -> None:
        """Start it, and wait until it is ready."""
        self.end, its = socket.socketpair()
        self.end.settimeout(WAIT_S)
        with its, wishes.create_shared_memory(1) as memory:
            self.memory = mmap.mmap(memory.fileno(), 0)
            self.process = start(its, memory)
        assert self.receive() == (READY, b"")

    def send(self, wish: DecodeRequest, data: bytes, place: int = INLINE) -> None:
        self.end.sendall(REQUEST_PREFIX.pack(len(wish.header), len(data), place) + wish.header + data)

    def receive(self) -> tuple[ResponseHeader, bytes]:
        """The next answer; raises EOFError if the process has ended."""
        header, body = RESPONSE_PREFIX.unpack(self._read(RESPONSE_PREFIX.size))
        return json.loads(self._read(header)), self._read(body)

    def ask(self, wish: DecodeRequest, data: bytes) -> bytes:
        """What came of it; raises what the process raised, and EOFError if it has ended."""
        place = 0 if 0 < wish.response_bytes <= SLOT_BYTES else INLINE
        self.send(wish, data, place)
        header, body = self.receive()
        wishes.raise_for_error(header)
        assert header["seconds"] >= 0
        return body if place == INLINE else self.memory[: wish.response_bytes]

    def prepare(
        self,
        data: bytes,
        specs: Sequence[PreprocessSpec] = SPECS,
        limits: Limits = DEFAULT_LIMITS,
        most: int | None = None,
    ) -> dict[PreprocessSpec, Pixels]:
        wanted = tuple({spec.resize_spec for spec in specs})
        made = split_buffer(self.ask(DecodeRequest(wanted, limits, most), data), wanted)
        return {spec: made[spec.resize_spec] for spec in specs}

    def thumbnail(self, data: bytes, side: int) -> bytes:
        return self.ask(DecodeRequest((), DEFAULT_LIMITS, thumbnail_side=side), data)

    def _read(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            try:
                more = self.end.recv(size - len(data))
            except ConnectionResetError:
                more = b""
            if not more:
                raise EOFError
            data += more
        return bytes(data)


@contextmanager
def started(start: Start = wishes.spawn) -> Iterator[Decoder]:
    """A process that ends with the test."""
    decoder = Decoder(start)
    try:
        yield decoder
    finally:
        decoder.end.close()
        decoder.memory.close()
        decoder.process.kill()
        decoder.process.wait(WAIT_S)


def changed(change: str) -> Start:
    """How to start processes in which this is done first."""
    code = f"from models.decoding import worker\n{change}\nworker.main()"

    def start(end: socket.socket, memory: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-c", code, str(memory.fileno())],
            stdin=end.fileno(),
            stdout=end.fileno(),
            stderr=subprocess.DEVNULL,
            pass_fds=[memory.fileno()],
            cwd=ROOT,
        )

    return start


def children(pid: int | str = "self") -> set[int]:
    """Processes that a process has started and that have not been waited for."""
    listed = (task / "children" for task in Path(f"/proc/{pid}/task").iterdir())
    return {int(child) for each in listed for child in each.read_text(encoding="ascii").split()}


def runs(pid: int) -> bool:
    """Whether a process has not ended, waited for or not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def connections() -> int:
    """How many sockets and pipes this process has open."""
    count = 0
    for each in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # what listed them is closed by now
            count += str(each.readlink()).startswith(("socket:", "pipe:"))
    return count
