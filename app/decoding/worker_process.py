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
from models.decoding.protocol import ANSWER, INLINE, PLACE_BYTES, REQUEST, Header, Wish

WALL_S = 30.0
"""For an answer, whatever the process does meanwhile, and for its start."""
_AHEAD_BYTES = 128 * 1024  # of its jobs: more than that is work enough, whatever the event loop does meanwhile
_CHUNK = 64 * 1024
_GONE_S = 1.0  # until a process that was killed must have gone
_AGAIN_S = 0.1
_MOST_HEADER, _MOST_BODY = 64 * 1024, 64 * 1024 * 1024  # of an answer

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Sender:
    """A request that sends pictures, which has one turn at a time however many they are."""

    pictures: int = 1


@dataclass(eq=False)
class Job:
    """A picture that is to be decoded, and who hears of it. All on the event loop."""

    sender: Sender
    wish: Wish
    data: bytes
    tell: Callable[[Header, bytes], None]
    """Called with an answer that is no error."""
    fail: Callable[[BaseException], None]
    is_wanted: bool = True
    """Whether somebody still waits for it, who was not refused."""
    was_lost: bool = False
    """Whether a process ended over it."""
    place: int = INLINE
    """In the memory that is shared with the process that has it."""

    def refuse(self, error: BaseException) -> None:
        """There will be no answer; who waits, if anybody does, is told so and nothing else afterwards."""
        if self.is_wanted:
            self.is_wanted = False
            self.fail(error)


class Process(asyncio.Protocol):
    """A process, from its start to its end."""

    def __init__(
        self,
        on_answer: Callable[[Job, Header, bytes], None],
        on_room: Callable[[], None],
        on_end: Callable[[Process], None],
        ahead: int,
    ) -> None:
        """Nothing runs yet; `start` must follow.

        Args:
            on_answer: told a job that is wanted, and the header and the body of its answer.
            on_room: told when it may have room for more.
            on_end: told when it has ended; `jobs` are those that it still had, the first one being what it was at.
            ahead: jobs that it has at a time at most.
        """
        self._loop = asyncio.get_running_loop()
        self.jobs: deque[Job] = deque()
        self.is_ready = False
        """Whether it has said that it is."""
        self.up: asyncio.Future[None] = self._loop.create_future()
        """Done when it is ready, or has ended without having been."""
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self.was_killed = False
        """Whether it was ended from outside, as by a system that needs its memory."""
        self.load = 0
        """Bytes of its jobs."""
        self._on_answer, self._on_room, self._on_end, self._ahead = on_answer, on_room, on_end, ahead
        self._since = 0.0  # when it began to start, or with the first of its jobs
        self._is_given_up = self._is_late = False
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
            with its, wishes.shared(self._ahead) as memory:
                self._memory = mmap.mmap(memory.fileno(), 0)
                self._process = await asyncio.to_thread(wishes.start, its, memory)
            await self._loop.create_unix_connection(lambda: self, sock=ours)
        except BaseException:
            ours.close()
            self._end()
            raise

    @property
    def has_room(self) -> bool:
        """Whether it can be given one more."""
        return self.is_ready and (not self.jobs or (len(self.jobs) < self._ahead and self.load < _AHEAD_BYTES))

    @property
    def runs(self) -> bool:
        """Whether it does, as far as the system knows: of its end nobody may have heard yet."""
        is_connected = self._transport is not None and not self._transport.is_closing()
        is_wanted = is_connected and not self._is_given_up
        return is_wanted and self._process is not None and self._process.poll() is None

    def give(self, job: Job) -> None:
        """Have a picture decoded, after those that it was given before."""
        assert self._transport is not None
        if not self.jobs:
            self._since = self._loop.time()
        self.jobs.append(job)
        self.load += len(job.data)
        header, job.place = job.wish.header, self._place(job.wish.body)
        self._transport.writelines([REQUEST.pack(len(header), len(job.data), job.place) + header, job.data])
        if self._watch is None:
            self._watch = self._loop.call_later(WALL_S, self._look)

    def kill(self) -> None:
        """End it, whatever it is at; what it may still say is not heard."""
        self._is_given_up = True
        if self._process:
            self._process.kill()
        if self._transport:  # something that it has started may hold the other end
            self._loop.call_later(_GONE_S, self._transport.abort)

    def _place(self, size: int) -> int:
        if not 0 < size <= PLACE_BYTES:
            return INLINE
        self._turn += 1
        return self._turn % self._ahead * PLACE_BYTES

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is none by inheritance
        self._since = self._loop.time()
        self._watch = self._loop.call_later(WALL_S, self._look)

    def data_received(self, data: bytes) -> None:
        if self._is_given_up:
            return
        self._received += data
        try:
            while (answer := self._next_answer()) is not None:
                self._take(*answer)
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
            self.was_killed = code == -signal.SIGKILL and not self._is_given_up
            if self.jobs or not self.is_ready:
                logger.warning("A process that decodes pictures has ended: exit code %s", code)
        if self._memory:
            self._memory.close()
        if not self.up.done():
            self.up.set_result(None)
        self.ended.set_result(None)

    def _unread(self) -> bytes:
        """What it had answered before it ended: if more could not be sent to it, the event loop has read no further."""
        unread = bytearray()
        with suppress(OSError):  # there is no more
            while self._socket and (data := self._socket.recv(_CHUNK, socket.MSG_DONTWAIT)):
                unread += data
        return bytes(unread)

    def _take(self, header: Header, body: bytes) -> None:
        if self.is_ready:
            job = self.jobs[0]
            if job.place != INLINE and self._memory:
                body = self._memory[job.place : job.place + header["placed"]]
            if job.is_wanted:
                self._on_answer(job, header, body)  # where this raises, it is still there, and refused
            self.load -= len(self.jobs.popleft().data)
            self._since, self._is_late = self._loop.time(), False
        else:
            self.is_ready = True
            self.up.set_result(None)
        self._on_room()

    def _next_answer(self) -> tuple[Header, bytes] | None:
        """The first one that is there whole; raises ValueError for what is none."""
        received = self._received
        if len(received) < ANSWER.size:
            return None
        header, body = ANSWER.unpack_from(received)
        if header > _MOST_HEADER or body > _MOST_BODY:
            raise ValueError("This is longer than any answer.")
        begin = ANSWER.size + header
        if len(received) < begin + body:
            return None
        with memoryview(received) as view:
            answer: tuple[Any, bytes] = json.loads(bytes(view[ANSWER.size : begin])), bytes(view[begin : begin + body])
        del received[: begin + body]
        return answer

    def _look(self) -> None:
        self._watch = None
        if self.is_ready and not self.jobs:
            return
        left_s = self._since + WALL_S - self._loop.time()
        if left_s > 0:
            self._watch = self._loop.call_later(left_s, self._look)
        elif not self._is_late:  # its answer may be there, unread: it is this process that stood still
            self._is_late = True
            self._watch = self._loop.call_later(_AGAIN_S, self._look)
        else:
            self.kill()
