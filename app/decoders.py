"""Who decodes which picture when: pixels cost time and memory, however few bytes a picture was sent in.

    start(job) ──▶ decode, a thread for each core ──header──▶ small: decoded at once, as soon as there is room
                                                   └────────▶ large: handed over ──▶ decode-large, one at a time

A large picture takes up to seconds, during which small ones go on. Whoever sends one alone waits half a second at most
for its turn, then is refused; those of a request of many wait for each other. Requests are served in turn, one picture
of each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TypeVar

from app.asked import shutting_down
from app.errors import Closed, Overloaded
from app.room import Room
from app.turns import Turns
from models.apart import Apart
from models.cores import available_cores

T = TypeVar("T")
Before = Callable[[int], object]
"""To be told width times height of a picture whose header was read, before anything is decoded. What it raises must be
let through."""

PATIENCE_S = 0.5
"""How long a large picture waits for its turn, where it is the only one of its request."""
_RETRY_AFTER_S = 2.0  # about what one of the largest takes
_JPEG = b"\xff\xd8\xff"
_SLOWNESS = 4


class IsLarge(BaseException):
    """It is not for this thread; no Exception, which decoders would take for a damaged file."""


@dataclass(frozen=True, eq=False)
class Sender:
    """A request that sends pictures, which has one turn at a time however many they are."""

    pictures: int = 1


@dataclass(eq=False)
class Job:
    """A picture that is to be decoded, and who hears of it where that cannot be."""

    sender: Sender
    slowness: int
    decode: Callable[[Before], None]
    fail: Callable[[BaseException], None]
    is_wanted: bool = True


def slowness(image: bytes) -> int:
    """How much longer each pixel may take than one of a JPEG: unpacked, filtered, laid on white."""
    return 1 if image.startswith(_JPEG) else _SLOWNESS


class Decoders:
    """The threads that decode. Lives on one event loop."""

    def __init__(self, pixels: int) -> None:
        """Start the threads.

        Args:
            pixels: a JPEG of more than a quarter of them is large, and a picture of another format of more than a
                sixteenth; small ones have half of them at a time.
        """
        self._loop = asyncio.get_running_loop()
        self._most_small = pixels // 4
        self.apart, self.room = Apart(), Room(pixels // 2)
        self._small = Turns(self._run_small, available_cores(), "decode")
        self._large = Turns(self._run_large, 1, "decode-large")

    @property
    def is_alive(self) -> bool:
        """Whether every thread runs."""
        return self._small.is_alive and self._large.is_alive

    def start(self, job: Job) -> None:
        """Have a picture decoded when its turn has come; `withdraw` must follow. Raises Closed."""
        self._small.join(job.sender, job)

    def withdraw(self, job: Job) -> None:
        """Nobody waits for it any more; what has begun goes on."""
        job.is_wanted = False
        if not self._small.leave(job.sender, job):
            self._large.leave(job.sender, job)

    async def run(self, image: bytes, decode: Callable[[Before], T]) -> T:
        """The result of work on one picture; raises Overloaded, Closed, and what `decode` raises."""
        done: asyncio.Future[T] = self._loop.create_future()

        def tell(how: Callable[[], None]) -> None:
            self._on_loop(lambda: None if done.done() else how())

        def work(before: Before) -> None:
            result = decode(before)
            tell(lambda: done.set_result(result))

        job = Job(Sender(), slowness(image), work, lambda error: tell(lambda: done.set_exception(error)))
        try:
            self.start(job)
            return await done
        finally:
            self.withdraw(job)

    def close(self) -> None:
        """Take nothing more; jobs that wait fail, and so do pictures that are decoded apart. Blocks for a moment."""
        for turns in (self._small, self._large):
            for job in turns.close():
                job.fail(shutting_down())
        self.apart.close()

    def _run_small(self, job: Job) -> None:
        with ExitStack() as held:

            def before(pixels: int) -> None:
                if pixels * job.slowness > self._most_small:
                    raise IsLarge
                held.enter_context(self.room.held(pixels))

            try:
                job.decode(before)
            except IsLarge:
                self._hand_over(job)
            except BaseException as error:  # whoever waits must hear of it, whatever it is
                job.fail(error)

    def _run_large(self, job: Job) -> None:
        try:
            job.decode(lambda _pixels: None)
        except BaseException as error:
            job.fail(error)

    def _hand_over(self, job: Job) -> None:
        try:
            self._large.join(job.sender, job)
        except Closed as error:
            job.fail(error)
            return
        if not job.is_wanted:  # any more: who withdrew it meanwhile did not find it
            self._large.leave(job.sender, job)
        elif job.sender.pictures == 1:
            self._on_loop(lambda: self._loop.call_later(PATIENCE_S, self._lose_patience, job))

    def _lose_patience(self, job: Job) -> None:
        if self._large.leave(job.sender, job):
            job.fail(
                Overloaded(
                    f"JPEGs of more than {self._most_small:,} pixels, and other pictures of more than "
                    f"{self._most_small // _SLOWNESS:,}, are decoded one at a time, and others are before this one. "
                    "A smaller one is taken at once; send this one again later.",
                    _RETRY_AFTER_S,
                )
            )

    def _on_loop(self, what: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # a loop that has closed has nobody left who waits
            self._loop.call_soon_threadsafe(what)
