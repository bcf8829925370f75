"""One decode worker process (`models.decoding.worker`): jobs go in, responses come out in the same order."""

from __future__ import annotations

import asyncio
import logging
import mmap
import signal
import socket
import subprocess
from collections.abc import Callable
from contextlib import suppress
from typing import cast

from app.decoding.job import DecodeJob
from app.decoding.response_parser import ResponseParser
from app.decoding.response_timeout import ResponseTimeout
from app.decoding.worker_jobs import WorkerJobs
from models.decoding import protocol
from models.decoding.protocol import INLINE, REQUEST_PREFIX, ResponseHeader

_RECEIVE_BYTES = 64 * 1024

_DISCONNECT_TIMEOUT_S = 1.0
"""Time after a kill until the connection is closed from this side: a child process may hold the other end. A judgement:
a killed process is normally gone within milliseconds."""

logger = logging.getLogger(__name__)


class DecodeWorker(asyncio.Protocol):
    """A worker process from its start to its end."""

    def __init__(
        self,
        on_response: Callable[[DecodeJob, ResponseHeader, bytes], None],
        on_room: Callable[[], None],
        on_end: Callable[[DecodeWorker], None],
        max_jobs: int,
    ) -> None:
        """Create the worker without a process; `start` must follow.

        Args:
            on_response: called with an active job, and the header and the body of its response.
            on_room: called when the worker may have room for another job.
            on_end: called when the process has ended; it may still have `jobs`, the current one first.
            max_jobs: maximum number of jobs that the worker has at a time.
        """
        self._loop = asyncio.get_running_loop()
        self.is_ready = False
        """True once the process has reported that it is ready."""
        self.started: asyncio.Future[None] = self._loop.create_future()
        """Done when the process is ready, or has ended before it was."""
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self.was_killed = False
        """True if the process was killed from outside, for example because the system is short of memory."""
        self.jobs = WorkerJobs(max_jobs)
        self._on_response, self._on_room, self._on_end, self._max_jobs = on_response, on_room, on_end, max_jobs
        self._parser = ResponseParser()
        self._timeout = ResponseTimeout(lambda: bool(self.jobs) or not self.is_ready, self.kill)
        self._was_abandoned = False
        self._socket: socket.socket | None = None
        self._transport: asyncio.WriteTransport | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._memory: mmap.mmap | None = None

    @property
    def has_room(self) -> bool:
        """True if the worker can take another job."""
        return self.is_ready and self.jobs.has_room

    @property
    def is_running(self) -> bool:
        """True if the process runs, as the system knows; the event loop may not have been notified of its end yet."""
        is_connected = self._transport is not None and not self._transport.is_closing()
        return is_connected and not self._was_abandoned and self._process is not None and self._process.poll() is None

    async def start(self) -> None:
        """Start the process; raises OSError."""
        try:
            self._socket, worker_socket = socket.socketpair()
            with worker_socket, protocol.create_shared_memory(self._max_jobs) as file:
                self._memory = mmap.mmap(file.fileno(), 0)
                self._process = await asyncio.to_thread(protocol.spawn, worker_socket, file)
            await self._loop.create_unix_connection(lambda: self, sock=self._socket)
        except BaseException:
            if self._socket:
                self._socket.close()
            self._clean_up()
            raise

    def send(self, job: DecodeJob) -> None:
        """Send a job, which is decoded after the earlier ones."""
        assert self._transport is not None
        if not self.jobs:
            self._timeout.start()
        assignment, header = self.jobs.add(job), job.options.header
        prefix = REQUEST_PREFIX.pack(len(header), assignment.size, assignment.offset)
        self._transport.writelines([prefix + header, job.data])

    def kill(self) -> None:
        """Kill the process and ignore what it may still send."""
        self._was_abandoned = True
        if self._process:
            self._process.kill()
        if self._transport:
            self._loop.call_later(_DISCONNECT_TIMEOUT_S, self._transport.abort)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's transport does not inherit from it
        self._timeout.start()

    def data_received(self, data: bytes) -> None:
        if self._was_abandoned:
            return
        try:
            for header, body in self._parser.feed(data):
                self._handle_response(header, body)
        except Exception:  # whatever is malformed: the job must be rejected, which the end of the process does
            logger.exception("A decode worker sent an invalid response.")
            self.kill()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        self._timeout.stop()
        self._clean_up()
        self._on_end(self)

    def _handle_response(self, header: ResponseHeader, body: bytes) -> None:
        if not self.is_ready:
            self.is_ready = True
            self.started.set_result(None)
        else:
            job, _, offset = self.jobs.current
            if offset != INLINE and self._memory:
                body = self._memory[offset : offset + header["shared_bytes"]]
            if job.is_active:
                self._on_response(job, header, body)  # if this raises, the job stays the current one, and is rejected
            self.jobs.remove_current()
            self._timeout.restart()
        self._on_room()

    def _clean_up(self) -> None:
        """Reap the process, read what it had sent before its end, and free the shared memory."""
        if self._process:
            self._process.kill()  # in case it closed the connection and lives on
            code = self._process.wait()
            self.data_received(self._read_rest())
            self.was_killed = code == -signal.SIGKILL and not self._was_abandoned
            if self.jobs or not self.is_ready:
                logger.warning("A decode worker has ended: exit code %s", code)
        if self._memory:
            self._memory.close()
        if not self.started.done():
            self.started.set_result(None)
        self.ended.set_result(None)

    def _read_rest(self) -> bytes:
        """Return what is left in the socket: after a failed write the event loop stops reading."""
        rest = bytearray()
        with suppress(OSError):  # nothing is left
            while self._socket and (data := self._socket.recv(_RECEIVE_BYTES, socket.MSG_DONTWAIT)):
                rest += data
        return bytes(rest)
