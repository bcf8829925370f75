"""One process that decodes pictures (`models.decoding.worker`), on the event loop: jobs go in, answers come out in order."""

from __future__ import annotations

import asyncio
import json
import logging
import mmap
import signal
import socket
import subprocess
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

from models.decoding import protocol as wishes
from models.decoding.protocol import INLINE, REQUEST, RESPONSE, SLOT_BYTES, DecodeRequest, Header

RESPONSE_TIMEOUT_S = 30.0
"""For an answer, whatever the process does meanwhile, and for its start."""
_AHEAD_BYTES = 128 * 1024  # of its jobs: more than that is work enough, whatever the event loop does meanwhile
_CHUNK = 64 * 1024
_GONE_S = 1.0  # until a process that was killed must have gone
_AGAIN_S = 0.1
_MOST_HEADER, _MOST_BODY = 64 * 1024, 64 * 1024 * 1024  # of an answer

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class RequestKey:
    """A request that sends pictures, which has one turn at a time however many they are."""

    images: int = 1


@dataclass(eq=False)
class DecodeJob:
    """A picture that is to be decoded, and who hears of it. All on the event loop."""

    request: RequestKey
    options: DecodeRequest
    data: bytes
    on_done: Callable[[Header, bytes], None]
    """Called with an answer that is no error."""
    on_error: Callable[[BaseException], None]
    is_active: bool = True
    """Whether somebody still waits for it, who was not refused."""
    was_retried: bool = False
    """Whether a process ended over it."""
    offset: int = INLINE
    """In the memory that is shared with the process that has it."""

    def reject(self, error: BaseException) -> None:
        """There will be no answer; who waits, if anybody does, is told so and nothing else afterwards."""
        if self.is_active:
            self.is_active = False
            self.on_error(error)


class DecodeWorker(asyncio.Protocol):
    """A process, from its start to its end."""

    def __init__(
        self,
        on_answer: Callable[[DecodeJob, Header, bytes], None],
        on_room: Callable[[], None],
        on_end: Callable[[DecodeWorker], None],
        max_jobs: int,
    ) -> None:
        """Nothing runs yet; `start` must follow.

        Args:
            on_answer: told a job that is wanted, and the header and the body of its answer.
            on_room: told when it may have room for more.
            on_end: told when it has ended; `jobs` are those that it still had, the first one being what it was at.
            ahead: jobs that it has at a time at most.
        """
        self._loop = asyncio.get_running_loop()
        self.jobs: deque[DecodeJob] = deque()
        self.is_ready = False
        """Whether it has said that it is."""
        self.started: asyncio.Future[None] = self._loop.create_future()
        """Done when it is ready, or has ended without having been."""
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self.was_killed = False
        """Whether it was ended from outside, as by a system that needs its memory."""
        self.load = 0
        """Bytes of its jobs."""
        self._on_answer, self._on_room, self._on_end, self._max_jobs = on_answer, on_room, on_end, max_jobs
        self._since = 0.0  # when it began to start, or with the first of its jobs
        self._was_abandoned = self._is_late = False
        self._received = bytearray()
        self._turn = 0  # in the shared memory: no place is used again before its answer has been taken
        self._watch: asyncio.TimerHandle | None = None
        self._socket: socket.socket | None = None
        self._transport: asyncio.WriteTransport | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._memory: mmap.mmap | None = None

    async def start(self) -> None:
        """Start it; raises OSError."""
        ours, its = socket.socketpair()
        self._socket = ours
        try:
            with its, wishes.create_shared_memory(self._max_jobs) as memory:
                self._memory = mmap.mmap(memory.fileno(), 0)
                self._process = await asyncio.to_thread(wishes.spawn, its, memory)
            await self._loop.create_unix_connection(lambda: self, sock=ours)
        except BaseException:
            ours.close()
            self._end()
            raise

    @property
    def has_room(self) -> bool:
        """Whether it can be given one more."""
        return self.is_ready and (not self.jobs or (len(self.jobs) < self._max_jobs and self.load < _AHEAD_BYTES))

    @property
    def is_running(self) -> bool:
        """Whether it does, as far as the system knows: of its end nobody may have heard yet."""
        is_connected = self._transport is not None and not self._transport.is_closing()
        is_wanted = is_connected and not self._was_abandoned
        return is_wanted and self._process is not None and self._process.poll() is None

    def send(self, job: DecodeJob) -> None:
        """Have a picture decoded, after those that it was given before."""
        assert self._transport is not None
        if not self.jobs:
            self._since = self._loop.time()
        self.jobs.append(job)
        self.load += len(job.data)
        header, job.offset = job.options.header, self._next_offset(job.options.response_bytes)
        self._transport.writelines([REQUEST.pack(len(header), len(job.data), job.offset) + header, job.data])
        if self._watch is None:
            self._watch = self._loop.call_later(RESPONSE_TIMEOUT_S, self._check_timeout)

    def kill(self) -> None:
        """End it, whatever it is at; what it may still say is not heard."""
        self._was_abandoned = True
        if self._process:
            self._process.kill()
        if self._transport:  # something that it has started may hold the other end
            self._loop.call_later(_GONE_S, self._transport.abort)

    def _next_offset(self, size: int) -> int:
        if not 0 < size <= SLOT_BYTES:
            return INLINE
        self._turn += 1
        return self._turn % self._max_jobs * SLOT_BYTES

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is none by inheritance
        self._since = self._loop.time()
        self._watch = self._loop.call_later(RESPONSE_TIMEOUT_S, self._check_timeout)

    def data_received(self, data: bytes) -> None:
        if self._was_abandoned:
            return
        self._received += data
        try:
            while (answer := self._next_response()) is not None:
                self._handle_response(*answer)
        except Exception:  # whatever it is that cannot be read: whoever waits must hear of it
            logger.exception("A process that decodes pictures sent what is no answer.")
            self.kill()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        if self._watch:
            self._watch.cancel()
        self._end()
        self._on_end(self)

    def _end(self) -> None:
        if self._process:
            self._process.kill()  # where it closed the connection and lives on
            code = self._process.wait()
            self.data_received(self._unread())
            self.was_killed = code == -signal.SIGKILL and not self._was_abandoned
            if self.jobs or not self.is_ready:
                logger.warning("A process that decodes pictures has ended: exit code %s", code)
        if self._memory:
            self._memory.close()
        if not self.started.done():
            self.started.set_result(None)
        self.ended.set_result(None)

    def _unread(self) -> bytes:
        """What it had answered before it ended: if more could not be sent to it, the event loop has read no further."""
        unread = bytearray()
        with suppress(OSError):  # there is no more
            while self._socket and (data := self._socket.recv(_CHUNK, socket.MSG_DONTWAIT)):
                unread += data
        return bytes(unread)

    def _handle_response(self, header: Header, body: bytes) -> None:
        if self.is_ready:
            job = self.jobs[0]
            if job.offset != INLINE and self._memory:
                body = self._memory[job.offset : job.offset + header["placed"]]
            if job.is_active:
                self._on_answer(job, header, body)  # where this raises, it is still there, and refused
            self.load -= len(self.jobs.popleft().data)
            self._since, self._is_late = self._loop.time(), False
        else:
            self.is_ready = True
            self.started.set_result(None)
        self._on_room()

    def _next_response(self) -> tuple[Header, bytes] | None:
        """The first one that is there whole; raises ValueError for what is none."""
        received = self._received
        if len(received) < RESPONSE.size:
            return None
        header, body = RESPONSE.unpack_from(received)
        if header > _MOST_HEADER or body > _MOST_BODY:
            raise ValueError("This is longer than any answer.")
        begin = RESPONSE.size + header
        if len(received) < begin + body:
            return None
        with memoryview(received) as view:
            answer: tuple[Any, bytes] = (
                json.loads(bytes(view[RESPONSE.size : begin])),
                bytes(view[begin : begin + body]),
            )
        del received[: begin + body]
        return answer

    def _check_timeout(self) -> None:
        self._watch = None
        if self.is_ready and not self.jobs:
            return
        left_s = self._since + RESPONSE_TIMEOUT_S - self._loop.time()
        if left_s > 0:
            self._watch = self._loop.call_later(left_s, self._check_timeout)
        elif not self._is_late:  # its answer may be there, unread: it is this process that stood still
            self._is_late = True
            self._watch = self._loop.call_later(_AGAIN_S, self._check_timeout)
        else:
            self.kill()
