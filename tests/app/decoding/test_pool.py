"""The pool of decode workers: starts, failed starts, order and shutdown."""

from __future__ import annotations

import asyncio
import gc
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from app.decoding import response_timeout
from app.errors import BatcherClosed
from models.decoding import protocol
from tests.support.decode_worker import WAIT_S, StartWorker, children, connections
from tests.support.decoder_pool import SCRIPTED_WORKER, pool_workers, running_pool, submit_images
from tests.support.polling import eventually

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")]


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}  # as the server does


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    """Check that every test ends all its processes and closes their connections."""
    gc.collect()
    before = children()
    yield
    gc.collect()  # raises ResourceWarning for anything left open
    assert children() <= before


@pytest.fixture(autouse=True)
def test_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "spawn", SCRIPTED_WORKER)


async def wait_for_connections(count: int) -> None:
    async def holds() -> bool:
        return connections() == count

    await asyncio.wait_for(eventually(holds), WAIT_S)


async def test_warm_up_starts_all_workers() -> None:
    before = children()
    async with running_pool(2) as pool:
        assert [process.is_ready for process in pool_workers(pool)] == [True, True]
        assert len(children() - before) == 2
        await pool.warm_up()
        assert len(pool_workers(pool)) == 2


async def test_worker_is_started_when_all_others_are_busy() -> None:
    async with running_pool(2, warm=False) as pool:
        assert not pool_workers(pool)
        (first,) = submit_images(pool, b"first")
        assert await first.response() == b"first"
        assert len(pool_workers(pool)) == 1
        (second,) = submit_images(pool, b"second")
        assert await second.response() == b"second"
        assert len(pool_workers(pool)) == 1, "one worker was idle"
        submit_images(pool, b"sleep", b"third", b"fourth")
        assert len(pool_workers(pool)) == 2


async def test_every_job_gets_its_own_response() -> None:
    async with running_pool() as pool:
        submitted = submit_images(pool, *(bytes([number]) * number * 500 for number in range(100)))
        assert [await image.response() for image in submitted] == [image.data for image in submitted]


async def test_worker_gets_a_limited_number_of_jobs_and_bytes_ahead() -> None:
    async with running_pool(max_jobs=3) as pool:
        submit_images(pool, b"sleep", b"a", b"b", b"c", b"d")
        (process,) = pool_workers(pool)
        assert (len(process.jobs), len(pool.queue)) == (3, 2)
    async with running_pool() as pool:
        submit_images(pool, b"sleep", bytes(200_000), b"c", b"d")
        (process,) = pool_workers(pool)
        assert (len(process.jobs), len(pool.queue)) == (2, 2), "the second job is large enough"


def spawn_failing(end: socket.socket, _: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["false"], stdin=end.fileno(), stdout=end.fileno())


def spawn_silent(end: socket.socket, _: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "1000"], stdin=end.fileno(), stdout=end.fileno())


@pytest.mark.parametrize("start", [spawn_failing, spawn_silent])
async def test_pool_is_dead_and_fails_all_jobs_if_no_worker_starts(
    monkeypatch: pytest.MonkeyPatch, start: StartWorker
) -> None:
    monkeypatch.setattr(protocol, "spawn", start)
    monkeypatch.setattr(response_timeout, "RESPONSE_TIMEOUT_S", 0.2)
    async with running_pool(2) as pool:
        assert pool.is_alive, "no worker has failed to start yet"
        submitted = submit_images(pool, b"a", b"b", b"c")
        for image in submitted:
            with pytest.raises(BatcherClosed):
                await image.response()
        assert not pool.is_alive


async def test_pool_is_alive_while_one_worker_runs_and_others_fail_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_pool(2, 1, warm=False) as pool:
        (first,) = submit_images(pool, b"first")
        await first.response()
        submit_images(pool, b"sleep")
        monkeypatch.setattr(protocol, "spawn", spawn_failing)
        submit_images(pool, b"a")

        async def has_failed_often() -> bool:
            return pool._failed_starts >= 5

        await asyncio.wait_for(eventually(has_failed_often), WAIT_S)
        assert pool.is_alive


@pytest.mark.parametrize("error", [BlockingIOError("too many processes"), RuntimeError("can't start new thread")])
async def test_jobs_fail_with_memory_error_while_no_process_can_be_started(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def cannot_start(*_: object) -> subprocess.Popen[bytes]:
        raise error

    async with running_pool(warm=False) as pool:
        with monkeypatch.context() as patched:
            patched.setattr(protocol, "spawn", cannot_start)
            await pool.warm_up()
            before = connections()
            submitted = submit_images(pool, b"a", b"b")
            for image in submitted:
                with pytest.raises(MemoryError):
                    await image.response()
            assert submitted[0].responses != submitted[1].responses, "each job has its own error"
        assert pool.is_alive
        await wait_for_connections(before)
        (later,) = submit_images(pool, b"c")
        assert await later.response() == b"c"


async def test_close_fails_all_unfinished_jobs() -> None:
    before = connections()
    async with running_pool(2, 2) as pool:
        running = submit_images(pool, b"sleep", b"sleep", b"a", b"b")
        waiting = submit_images(pool, b"c", b"d")
        (cancelled,) = submit_images(pool, b"e")
        cancelled.job.is_active = False
        assert (sum(len(process.jobs) for process in pool_workers(pool)), len(pool.queue)) == (4, 3)
    for image in running + waiting:
        with pytest.raises(BatcherClosed, match="shutting down"):
            await image.response()
    assert not cancelled.responses
    await wait_for_connections(before)
    with pytest.raises(BatcherClosed):
        submit_images(pool, b"f")


async def test_pool_can_be_closed_while_workers_start() -> None:
    before = connections()
    async with running_pool(2, warm=False) as pool:
        warming = asyncio.create_task(pool.warm_up())
        submitted = submit_images(pool, b"a")
        await asyncio.sleep(0)
    await asyncio.wait_for(warming, WAIT_S)
    with pytest.raises(BatcherClosed):
        await submitted[0].response()
    await wait_for_connections(before)


@pytest.mark.parametrize("processes", [0, 1, 2])
async def test_cancelled_warm_up_does_not_prevent_closing(processes: int) -> None:
    async with running_pool(2, warm=False) as pool:
        warming = asyncio.create_task(pool.warm_up())
        await asyncio.sleep(0)
        await eventually(lambda: sum(worker._process is not None for worker in pool_workers(pool)) >= processes)
        warming.cancel()
        await asyncio.wait([warming])
        await asyncio.wait_for(pool.close(), WAIT_S)
        assert not pool_workers(pool)


async def test_response_that_arrives_during_close_is_ignored() -> None:
    async with running_pool(2) as pool:
        submitted = submit_images(pool, *[b"a"] * 16)
        answered = eventually(lambda: not any(worker.jobs for worker in pool_workers(pool)))
        pool._starting.add(asyncio.create_task(answered))  # like a starting worker
        await pool.close()
        for image in submitted:
            with pytest.raises(BatcherClosed):
                await image.response()
