"""Decode workers that crash, hang, are killed or send invalid responses: which jobs fail."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import pytest

from app.decoding import response_timeout
from app.decoding.worker_process import DecodeWorker
from models.decoding import protocol
from models.decoding.errors import UndecodableImage
from tests.support.decode_worker import WAIT_S, children
from tests.support.decoder_pool import SCRIPTED_WORKER, pool_workers, running_pool, submit_images
from tests.support.polling import eventually

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's"),
]


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}  # as the server does


@pytest.fixture(autouse=True)
def test_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "spawn", SCRIPTED_WORKER)


def pid(process: DecodeWorker) -> int:
    assert process._process
    return process._process.pid


def await_end(process: DecodeWorker) -> None:
    """Block until the process has ended; the event loop is not notified meanwhile."""
    os.waitid(os.P_PID, pid(process), os.WEXITED | os.WNOWAIT)


async def test_crash_fails_only_the_current_image() -> None:
    async with running_pool() as pool:
        before, first, *rest = submit_images(pool, b"nap", b"abort", b"a", b"abort", b"b")
        assert len(pool_workers(pool)[0].jobs) == 5
        assert await before.response() == b"nap"
        with pytest.raises(UndecodableImage, match="crashes the decoder"):
            await first.response()
        assert await rest[0].response() == b"a"
        with pytest.raises(UndecodableImage):
            await rest[1].response()
        assert await rest[2].response() == b"b"
        assert pool.is_alive


async def test_responses_sent_before_a_crash_are_read() -> None:
    async with running_pool() as pool:
        first, second = submit_images(pool, b"a", b"abort")
        (process,) = pool_workers(pool)
        await_end(process)  # the event loop has read no response yet
        process._transport.write(b"what cannot be sent")  # type: ignore[union-attr]
        (third,) = submit_images(pool, b"b")
        assert [await first.response(), await third.response()] == [b"a", b"b"]
        with pytest.raises(UndecodableImage):
            await second.response()


async def test_no_image_is_lost_if_all_workers_are_killed_at_once() -> None:
    async with running_pool(3) as pool:
        for process in pool_workers(pool):
            os.kill(pid(process), signal.SIGKILL)
            await_end(process)
        submitted = submit_images(pool, b"a", b"b", b"c", b"d")
        assert [await image.response() for image in submitted] == [image.data for image in submitted]


async def test_no_image_is_lost_if_a_busy_worker_is_killed() -> None:
    async with running_pool() as pool:
        submitted = submit_images(pool, b"nap", b"a")
        os.kill(pid(pool_workers(pool)[0]), signal.SIGKILL)
        assert [await image.response() for image in submitted] == [b"nap", b"a"]


async def test_no_image_is_lost_if_an_idle_worker_is_killed() -> None:
    async with running_pool() as pool:
        os.kill(pid(pool_workers(pool)[0]), signal.SIGKILL)
        (submitted,) = submit_images(pool, b"a")
        assert await submitted.response() == b"a"
        os.kill(pid(pool_workers(pool)[0]), signal.SIGKILL)

        async def is_gone() -> bool:
            return not pool_workers(pool)

        await asyncio.wait_for(eventually(is_gone), WAIT_S)
        (submitted,) = submit_images(pool, b"b")
        assert await submitted.response() == b"b"


async def test_image_is_rejected_after_two_workers_were_killed() -> None:
    async with running_pool() as pool:
        first, second = submit_images(pool, b"kill", b"a")
        with pytest.raises(UndecodableImage, match="too much memory"):
            await first.response()
        assert await second.response() == b"a"


async def test_cancelled_image_is_not_retried() -> None:
    async with running_pool() as pool:
        first, second = submit_images(pool, b"kill", b"abort")
        first.job.is_active = second.job.is_active = False
        await pool_workers(pool)[0].ended
        (third,) = submit_images(pool, b"a")
        assert await third.response() == b"a"
        assert not first.responses
        assert not second.responses


async def test_image_that_takes_too_long_is_rejected_without_a_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(response_timeout, "RESPONSE_TIMEOUT_S", 5.0)  # also for the start
    async with running_pool() as pool:
        first, second = submit_images(pool, b"sleep", b"a")
        with pytest.raises(UndecodableImage, match="takes too long"):
            await first.response()
        assert not first.job.was_retried, "the server itself killed the worker"
        assert await second.response() == b"a"


@pytest.mark.parametrize("data", [b"garbage", b"number", b"nothing"])
async def test_invalid_response_fails_only_its_image(data: bytes) -> None:
    async with running_pool() as pool:
        first, second = submit_images(pool, data, b"a")
        with pytest.raises(UndecodableImage):
            await first.response()
        assert await second.response() == b"a"


async def test_unexpected_response_ends_the_worker() -> None:
    async with running_pool() as pool:
        (process,) = pool_workers(pool)
        (submitted,) = submit_images(pool, b"twice")
        assert await submitted.response() == b"twice"
        await asyncio.wait_for(process.ended, WAIT_S)
        (submitted,) = submit_images(pool, b"a")
        assert await submitted.response() == b"a"


async def test_worker_whose_child_holds_the_connection_is_abandoned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(response_timeout, "RESPONSE_TIMEOUT_S", 3.0)
    async with running_pool() as pool:
        first, second = submit_images(pool, b"child", b"a")
        with pytest.raises(UndecodableImage):
            await first.response()
        assert await second.response() == b"a"
        submit_images(pool, b"child")
        (worker,) = pool_workers(pool)
        assert worker._process
        pid = worker._process.pid
        await asyncio.wait_for(eventually(lambda: bool(children(pid))), WAIT_S)
    assert not pool_workers(pool), "closed, although a child holds the connection"
