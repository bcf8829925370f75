"""Decode images in worker processes: small ones at once, larger ones after each other.

The life of one job::

    submit(job)      the job waits in the fair queue of the workers for small images
       │
       ▼
    worker           one worker for each core reads the header of the image
       │
       ├─ small      it decodes the image ──▶ job.on_done or job.on_error
       │
       └─ larger     it returns "above threshold": the job moves to the queue of other workers
            │
            ├─ medium     a photo that takes time but no more memory than a small JPEG: on half of the cores
            │
            └─ large      one at a time
                 │
                 ├─ a single image, and those of MAX_WAITING_REQUESTS others wait already ──▶ Overloaded
                 │
                 └─ decoded when its turn comes ──▶ job.on_done or job.on_error

A larger image takes up to seconds; meanwhile small ones go on. How long it waits for its turn is limited by the
deadline of its request, and by the number of requests that may wait. If a worker dies, its current job is rejected, or
retried once if the worker was killed from outside; the jobs behind it go to another worker. `cancel(job)` is possible
at every step: a job that a worker already has is still decoded, but its response is ignored.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from app.decoding.job import DecodeJob
from app.decoding.pool import WorkerPool
from app.errors import BatcherClosed, Overloaded
from models.cpu import available_cores
from models.decoding.errors import ImageError
from models.decoding.protocol import AboveThreshold, DecodeRequest, ResponseHeader, WorkerError, raise_for_error
from models.errors import DecoderUnavailable

MAX_WAITING_REQUESTS = 32
"""Requests whose medium images may wait, and as many for large ones. A judgement: with photos of 12 megapixels (0.1 to
0.7 s, see below) the last of them waits some 20 s; together they hold a quarter of the default queue, which leaves the
rest to small images."""

_RETRY_AFTER_S = 5.0
"""About the time in which a third of the waiting photos are decoded."""

_SMALL_IMAGE_DIVISOR = 4
"""Any image is large from this fraction of `large_image_pixels` on. A judgement: smaller ones are decoded on several
cores at once, so each may have a share of the memory that one of the largest needs."""

_SLOW_FORMAT_FACTOR = 4
"""Time for each pixel of a format other than JPEG, as a multiple of a JPEG's: such an image is medium from this
fraction of a small JPEG on. Measured with a photo-like image of 12 megapixels: JPEG 83 ms, PNG 365 ms, WebP 372 ms, PNG
with transparency 599 ms, HEIC 700 ms."""

_JOBS_PER_WORKER = 8
"""Jobs that a worker for small images has at a time, so that it need not wait for the event loop between two of them. A
judgement: jobs that a worker has are decoded even if their clients leave."""

_JPEG_MAGIC = b"\xff\xd8\xff"


class ImageDecoder:
    """The worker pools for images of each size, started when they are first needed. Lives on one event loop."""

    def __init__(self, large_image_pixels: int) -> None:
        """Create the decoder without any process.

        Args:
            large_image_pixels: an image is large if it has more than a quarter of this number. One of a format other
                than JPEG is medium if it has more than a sixteenth.
        """
        self._max_small_jpeg = large_image_pixels // _SMALL_IMAGE_DIVISOR
        self._threads = ThreadPoolExecutor(available_cores(), "resize")
        self._small = WorkerPool(available_cores(), _JOBS_PER_WORKER, self._on_response)
        self._medium = WorkerPool(max(1, available_cores() // 2), 1, self._on_response)
        self._large = WorkerPool(1, 1, self._on_response)
        self._pools = (self._small, self._medium, self._large)

    @property
    def is_alive(self) -> bool:
        """Return True while decode workers run, or can be started."""
        return all(pool.is_alive for pool in self._pools)

    async def warm_up(self) -> None:
        """Start the workers for small images and wait until they are ready; raises DecoderUnavailable if none is."""
        await self._small.warm_up()
        if not self._small.is_ready:
            raise DecoderUnavailable("No decode worker can be started. Allow more processes, open files or memory.")

    def submit(self, job: DecodeJob) -> None:
        """Queue a job; `cancel` must follow if it is still active when nothing waits for it. Raises BatcherClosed."""
        slowness = 1 if job.data.startswith(_JPEG_MAGIC) else _SLOW_FORMAT_FACTOR
        job.options = _with_max_pixels(job.options, self._max_small_jpeg // slowness)
        self._small.submit(job)

    def cancel(self, job: DecodeJob) -> None:
        """Withdraw an active job and ignore its response."""
        job.cancel()
        for pool in self._pools:
            if pool.remove(job):
                return

    def run_in_thread(self, work: Callable[[], None]) -> None:
        """Run work on an image that needs no decoding; raises BatcherClosed."""
        try:
            self._threads.submit(work)
        except RuntimeError as error:
            raise BatcherClosed.during_shutdown() from error

    async def close(self) -> None:
        """End all processes; unfinished jobs fail with BatcherClosed."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        await asyncio.gather(*(pool.close() for pool in self._pools))

    def _on_response(self, job: DecodeJob, header: ResponseHeader, body: bytes) -> None:
        try:
            raise_for_error(header)
        except AboveThreshold as above:
            if job.options.max_pixels is None:
                raise ValueError("A decode worker returned a job that has no threshold.") from None
            self._move(job, self._medium if above.pixels <= self._max_small_jpeg else self._large)
        except (ImageError, MemoryError, WorkerError) as error:
            job.reject(error)
        else:
            job.complete(header, body)

    def _move(self, job: DecodeJob, pool: WorkerPool) -> None:
        """Queue a job once more, among images of its size."""
        if job.on_moved:
            job.on_moved()
        if job.request.images == 1 and pool.queue.requests >= MAX_WAITING_REQUESTS:
            job.reject(self._too_many_waiting())
            return
        job.options = replace(job.options, max_pixels=None)
        pool.submit(job)

    def _too_many_waiting(self) -> Overloaded:
        return Overloaded(
            f"JPEGs of more than {self._max_small_jpeg:,} pixels, and other images of more than "
            f"{self._max_small_jpeg // _SLOW_FORMAT_FACTOR:,}, are decoded after each other, and those of "
            f"{MAX_WAITING_REQUESTS} requests are waiting. Send this image again later, or a smaller one.",
            _RETRY_AFTER_S,
        )


@functools.lru_cache(maxsize=100)
def _with_max_pixels(options: DecodeRequest, max_pixels: int) -> DecodeRequest:
    """Return the options with a threshold; cached, so that the header of equal options is encoded once."""
    return replace(options, max_pixels=max_pixels)
