"""A pool of decode workers that follow scripted commands instead of decoding, and jobs for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from app.decoding.job import DecodeJob, RequestKey
from app.decoding.pool import WorkerPool
from app.decoding.worker_process import DecodeWorker
from models.decoding import protocol
from models.decoding.limits import DEFAULT_LIMITS
from models.decoding.protocol import DecodeRequest, ResponseHeader
from tests.support.decode_worker import WAIT_S, patched_worker

SCRIPTED_WORKER = patched_worker("""
import os, signal, subprocess, time

def respond(request, data):
    if data == b"abort":
        os.abort()
    if data == b"kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if data == b"sleep":
        time.sleep(1000)
    if data == b"child":
        subprocess.Popen(["sleep", "60"])
        time.sleep(1000)
    if data == b"fault":
        raise TypeError("ours")
    if data == b"nap":
        time.sleep(0.3)
    if data == b"garbage":
        os.write(0, bytes([255] * 100))
    if data == b"number":
        return 7, b""
    if data == b"nothing":
        return None, b""
    if data == b"twice":
        os.write(0, worker.RESPONSE_PREFIX.pack(2, 5) + b"{}" + data)
    if data.startswith(b"large") and request.max_pixels is not None:
        return {"above_threshold": 1000}, b""
    if data.startswith(b"medium") and request.max_pixels is not None:
        return {"above_threshold": 250}, b""
    return {"seconds": 0.0}, data

worker._handle = respond
""")
"""Start a worker that returns the data it receives, unless the data is one of the commands above."""


@dataclass(eq=False)
class SubmittedJob:
    """A job and the responses it has received; one response is correct."""

    data: bytes
    sender: RequestKey = field(default_factory=RequestKey)
    responses: list[bytes | BaseException] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._done = asyncio.Event()
        self.job = DecodeJob(
            self.sender, DecodeRequest((), DEFAULT_LIMITS), self.data, lambda _, body: self._add(body), self._add
        )

    def _add(self, response: bytes | BaseException) -> None:
        self.responses.append(response)
        self._done.set()

    async def response(self) -> bytes:
        """Wait for the only response and return it, or raise it if it is an error."""
        await asyncio.wait_for(self._done.wait(), WAIT_S)
        (response,) = self.responses
        if isinstance(response, BaseException):
            raise response
        return response


@asynccontextmanager
async def running_pool(max_workers: int = 1, max_jobs: int = 8, *, warm: bool = True) -> AsyncIterator[WorkerPool]:
    """Run a pool of at most `max_workers` processes with `max_jobs` jobs each until the block ends."""

    def on_response(job: DecodeJob, header: ResponseHeader, body: bytes) -> None:
        protocol.raise_for_error(header)
        job.on_done(header, body)

    pool = WorkerPool(max_workers, max_jobs, on_response)
    try:
        if warm:
            await pool.warm_up()
        yield pool
    finally:
        await pool.close()


def submit_images(pool: WorkerPool, *images: bytes) -> list[SubmittedJob]:
    submitted = [SubmittedJob(data) for data in images]
    for image in submitted:
        pool.submit(image.job)
    return submitted


def pool_workers(pool: WorkerPool) -> list[DecodeWorker]:
    return list(pool._workers)
