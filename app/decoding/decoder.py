"""Who decodes which picture when: pixels cost time and memory, however few bytes a picture was sent in.

    start(job) ──▶ small: a process for each core ──header──▶ decoded at once
                                                     └──────▶ large: one process, one picture at a time

A large picture takes up to seconds, during which small ones go on. Whoever sends one alone waits half a second at most
for its turn, then is refused; those of a request of many wait for each other. Requests are served in turn, one picture
of each. A process that ends over a picture is replaced; those that waited in it are decoded by another one.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from app.batching.request import shutdown_error
from app.decoding.pool import WorkerPool
from app.decoding.worker_process import DecodeJob, RequestKey
from app.errors import Overloaded
from models.cpu import available_cores
from models.decoding.image import Limits
from models.decoding.protocol import AboveThreshold, DecodeRequest, Header, WorkerError, raise_for_error
from models.errors import ImageError, NoDecoder

LARGE_IMAGE_WAIT_S = 0.5
"""How long a large picture waits for its turn, where it is the only one of its request."""
_RETRY_AFTER_S = 2.0  # about what one of the largest takes
_JPEG = b"\xff\xd8\xff"
_SLOWNESS = 4
_AHEAD = 8


class ImageDecoder:
    """The processes that decode, started when they are first needed. Lives on one event loop."""

    def __init__(self, pixels: int) -> None:
        """Start nothing yet.

        Args:
            pixels: a JPEG of more than a quarter of them is large, and a picture of another format of more than a
                sixteenth.
        """
        self._loop = asyncio.get_running_loop()
        self._most_small = pixels // 4
        self._threads = ThreadPoolExecutor(available_cores(), "resize")
        self._small = WorkerPool(available_cores(), _AHEAD, self._on_response)
        self._large = WorkerPool(1, 1, self._on_response)

    @property
    def is_alive(self) -> bool:
        """Whether processes come up."""
        return self._small.is_alive and self._large.is_alive

    async def warm(self) -> None:
        """Start the processes for small pictures, and wait for them; raises NoDecoder where there is none then."""
        await self._small.warm()
        if not self._small.is_up:
            raise NoDecoder("No process that decodes pictures comes up. Allow more processes, files or memory.")

    def submit(self, job: DecodeJob) -> None:
        """Have a picture decoded when its turn has come; `withdraw` must follow. Raises Closed."""
        job.options = _small(job.options, self._most_small // _slowness(job.data))
        self._small.submit(job)

    def run_in_thread(self, work: Callable[[], None]) -> None:
        """Have something done with a picture that is decoded already; raises Closed."""
        try:
            self._threads.submit(work)
        except RuntimeError as error:
            raise shutdown_error() from error

    def cancel(self, job: DecodeJob) -> None:
        """Nobody waits for it any more, and nobody is told of it; what has begun goes on."""
        job.is_active = False
        if self._small.queue.remove(job.request, job) or self._large.queue.remove(job.request, job):
            job.data = b""  # a timer may know the job for a while

    async def thumbnail(self, image: bytes, side: int, limits: Limits) -> bytes:
        """A JPEG of an image, upright and of at most `side` pixels a side.

        Raises:
            ImageError: the image cannot be taken.
            Overloaded, Closed: as for any other picture.
        """
        done: asyncio.Future[bytes] = self._loop.create_future()

        def tell(_: Header, jpeg: bytes) -> None:
            if not done.done():  # cancelled: who asked is about to withdraw it
                done.set_result(jpeg)

        def fail(error: BaseException) -> None:
            if not done.done():
                done.set_exception(error)

        job = DecodeJob(RequestKey(), DecodeRequest((), limits, side=side), image, tell, fail)
        try:
            self.submit(job)
            return await done
        finally:
            self.cancel(job)

    async def close(self) -> None:
        """End all processes; pictures that wait or are being decoded fail."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        await asyncio.gather(self._small.close(), self._large.close())

    def _on_response(self, job: DecodeJob, header: Header, body: bytes) -> None:
        try:
            raise_for_error(header)
        except AboveThreshold:
            if job.options.max_pixels is None:
                raise  # it was asked for whatever its size
            self._move_to_large(job)
        except (ImageError, MemoryError, WorkerError) as error:
            job.reject(error)
        else:
            job.on_done(header, body)

    def _move_to_large(self, job: DecodeJob) -> None:
        job.options = replace(job.options, max_pixels=None)
        self._large.submit(job)
        if job.request.images == 1:
            self._loop.call_later(LARGE_IMAGE_WAIT_S, self._reject_if_waiting, job)

    def _reject_if_waiting(self, job: DecodeJob) -> None:
        if job.is_active and not self._large.is_up:  # it waits for the process, and for no other picture
            self._loop.call_later(LARGE_IMAGE_WAIT_S, self._reject_if_waiting, job)
        elif self._large.queue.remove(job.request, job):
            job.reject(
                Overloaded(
                    f"JPEGs of more than {self._most_small:,} pixels, and other pictures of more than "
                    f"{self._most_small // _SLOWNESS:,}, are decoded one at a time, and others are before this one. "
                    "A smaller one is taken at once; send this one again later.",
                    _RETRY_AFTER_S,
                )
            )


@functools.lru_cache(maxsize=100)
def _small(wish: DecodeRequest, most: int) -> DecodeRequest:
    return replace(wish, max_pixels=most)


def _slowness(image: bytes) -> int:
    """How much longer each pixel may take than one of a JPEG: unpacked, filtered, laid on white."""
    return 1 if image.startswith(_JPEG) else _SLOWNESS
