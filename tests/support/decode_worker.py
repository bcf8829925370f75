"""Decode worker processes for tests: used without an event loop, or with patched parts."""

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
from models.decoding import protocol
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
StartWorker = Callable[[socket.socket, IO[bytes]], "subprocess.Popen[bytes]"]
"""Start a worker on its end of a socket pair and on the shared memory."""


class WorkerConnection:
    """A worker process, the socket to it and the memory shared with it."""

    def __init__(self, start: StartWorker) -> None:
        """Start the process, and wait until it is ready."""
        self.socket, worker_socket = socket.socketpair()
        self.socket.settimeout(WAIT_S)
        with worker_socket, protocol.create_shared_memory(1) as memory:
            self.memory = mmap.mmap(memory.fileno(), 0)
            self.process = start(worker_socket, memory)
        assert self.receive() == (READY, b"")

    def send(self, request: DecodeRequest, data: bytes, offset: int = INLINE) -> None:
        """Send a request; the response goes to `offset` in the shared memory, or through the socket."""
        self.socket.sendall(REQUEST_PREFIX.pack(len(request.header), len(data), offset) + request.header + data)

    def receive(self) -> tuple[ResponseHeader, bytes]:
        """Read the next response; raises EOFError if the process has ended."""
        header_bytes, body_bytes = RESPONSE_PREFIX.unpack(self._read(RESPONSE_PREFIX.size))
        return json.loads(self._read(header_bytes)), self._read(body_bytes)

    def exchange(self, request: DecodeRequest, data: bytes) -> bytes:
        """Send a request and return the body of its response.

        Raises:
            EOFError: The process has ended.
            Exception: The error that the worker reported.
        """
        offset = 0 if 0 < request.response_bytes <= SLOT_BYTES else INLINE
        self.send(request, data, offset)
        header, body = self.receive()
        protocol.raise_for_error(header)
        assert 0 <= header["seconds"] < WAIT_S
        return body if offset == INLINE else self.memory[: request.response_bytes]

    def prepare(
        self,
        data: bytes,
        specs: Sequence[PreprocessSpec] = SPECS,
        limits: Limits = DEFAULT_LIMITS,
        max_pixels: int | None = None,
    ) -> dict[PreprocessSpec, Pixels]:
        """Decode an image and resize it by each of the specs."""
        resize_specs = tuple({spec.resize_spec for spec in specs})
        arrays = split_buffer(self.exchange(DecodeRequest(resize_specs, limits, max_pixels), data), resize_specs)
        return {spec: arrays[spec.resize_spec] for spec in specs}

    def thumbnail(self, data: bytes, side: int) -> bytes:
        return self.exchange(DecodeRequest((), DEFAULT_LIMITS, thumbnail_side=side), data)

    def _read(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            try:
                piece = self.socket.recv(size - len(data))
            except ConnectionResetError:
                piece = b""
            if not piece:
                raise EOFError
            data += piece
        return bytes(data)


@contextmanager
def running_worker(start: StartWorker = protocol.spawn) -> Iterator[WorkerConnection]:
    """Run a worker until the block ends."""
    worker = WorkerConnection(start)
    try:
        yield worker
    finally:
        worker.socket.close()
        worker.memory.close()
        worker.process.kill()
        worker.process.wait(WAIT_S)


def patched_worker(patch: str) -> StartWorker:
    """Return a function that starts workers which run the code `patch` first; `worker` is the worker's module."""
    code = f"from models.decoding import worker\n{patch}\nworker.main()"

    def start(worker_socket: socket.socket, memory: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-c", code, str(memory.fileno())],
            stdin=worker_socket.fileno(),
            stdout=worker_socket.fileno(),
            stderr=subprocess.DEVNULL,
            pass_fds=[memory.fileno()],
            cwd=ROOT,
        )

    return start


def children(pid: int | str = "self") -> set[int]:
    """Return the ids of the child processes of a process, including those that have ended and were not waited for."""
    files = (task / "children" for task in Path(f"/proc/{pid}/task").iterdir())
    return {int(child) for file in files for child in file.read_text(encoding="ascii").split()}


def is_running(pid: int) -> bool:
    """Return True if a process exists and is no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def connections() -> int:
    """Return the number of sockets and pipes that this process has open."""
    count = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the descriptor of the listing itself is closed by now
            count += str(descriptor.readlink()).startswith(("socket:", "pipe:"))
    return count
