"""Processes that decode nothing, but do as they are told, and who asks them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from app.decoding.job import DecodeJob, RequestKey
from app.decoding.pool import WorkerPool
from app.decoding.worker_process import DecodeWorker
from models.decoding import protocol as wishes
from models.decoding.limits import DEFAULT_LIMITS
from models.decoding.protocol import DecodeRequest, ResponseHeader
from tests.support.decode_worker import WAIT_S, changed

OBEDIENT = changed("""
import os, signal, subprocess, time

def answer(wish, data):
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
    if data.startswith(b"large") and wish.max_pixels is not None:
        return {"above_threshold": True}, b""
    return {"seconds": 0.0}, data

worker._handle = answer
""")
"""Start one that sends back what it was sent, unless that says something else."""


@dataclass(eq=False)
class Asked:
    """A job, and all that was told of it."""

    data: bytes
    sender: RequestKey = field(default_factory=RequestKey)
    answers: list[bytes | BaseException] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._done = asyncio.Event()
        self.job = DecodeJob(
            self.sender, DecodeRequest((), DEFAULT_LIMITS), self.data, lambda _, body: self._put(body), self._put
        )

    def _put(self, answer: bytes | BaseException) -> None:
        self.answers.append(answer)
        self._done.set()

    async def answer(self) -> bytes:
        """The only one; raises it where it is an error."""
        await asyncio.wait_for(self._done.wait(), WAIT_S)
        (answer,) = self.answers
        if isinstance(answer, BaseException):
            raise answer
        return answer


@asynccontextmanager
async def pool_of(most: int = 1, ahead: int = 8, *, warm: bool = True) -> AsyncIterator[WorkerPool]:
    """Processes that share what they are asked, until the block ends."""

    def tell(job: DecodeJob, header: ResponseHeader, body: bytes) -> None:
        wishes.raise_for_error(header)
        job.on_done(header, body)

    pool = WorkerPool(most, ahead, tell)
    try:
        if warm:
            await pool.warm_up()
        yield pool
    finally:
        await pool.close()


def ask(pool: WorkerPool, *images: bytes) -> list[Asked]:
    asked = [Asked(data) for data in images]
    for each in asked:
        pool.submit(each.job)
    return asked


def processes(pool: WorkerPool) -> list[DecodeWorker]:
    return list(pool._workers)
