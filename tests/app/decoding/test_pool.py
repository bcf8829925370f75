"""Processes that share what waits: their start, their end, and those that do not start."""

from __future__ import annotations

import asyncio
import gc
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from app.decoding import worker_process as decoding
from app.errors import BatcherClosed
from models.decoding import protocol as wishes
from tests.app.conftest import eventually
from tests.support.decode_worker import WAIT_S, Start, children, connections
from tests.support.decoder_pool import OBEDIENT, ask, pool_of, processes

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")]


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}  # as the server does


@pytest.fixture(autouse=True)
def none_is_left() -> Iterator[None]:
    """Neither processes nor what they were connected by."""
    gc.collect()
    before = children()
    yield
    gc.collect()  # raises ResourceWarning, where there is a reason
    assert children() <= before


@pytest.fixture(autouse=True)
def obedient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wishes, "start", OBEDIENT)


async def are_open(count: int) -> None:
    async def holds() -> bool:
        return connections() == count

    await asyncio.wait_for(eventually(holds), WAIT_S)


async def test_when_they_are_warm_all_of_them_are_ready() -> None:
    before = children()
    async with pool_of(2) as pool:
        assert [process.is_ready for process in processes(pool)] == [True, True]
        assert len(children() - before) == 2
        await pool.warm()
        assert len(processes(pool)) == 2


async def test_one_is_started_by_the_first_picture_and_another_when_all_are_busy() -> None:
    async with pool_of(2, warm=False) as pool:
        assert not processes(pool)
        (first,) = ask(pool, b"first")
        assert await first.answer() == b"first"
        assert len(processes(pool)) == 1
        (second,) = ask(pool, b"second")
        assert await second.answer() == b"second"
        assert len(processes(pool)) == 1, "there was one that had nothing to do"
        ask(pool, b"sleep", b"third", b"fourth")
        assert len(processes(pool)) == 2


async def test_answers_come_to_their_jobs_in_order() -> None:
    async with pool_of() as pool:
        asked = ask(pool, *(bytes([number]) * number * 500 for number in range(100)))
        assert [await each.answer() for each in asked] == [each.data for each in asked]


async def test_no_more_are_given_ahead_than_may_be() -> None:
    async with pool_of(ahead=3) as pool:
        ask(pool, b"sleep", b"a", b"b", b"c", b"d")
        (process,) = processes(pool)
        assert (len(process.jobs), len(pool.queue)) == (3, 2)
    async with pool_of() as pool:
        ask(pool, b"sleep", bytes(200_000), b"c", b"d")
        (process,) = processes(pool)
        assert (len(process.jobs), len(pool.queue)) == (2, 2), "the second is work enough"


def no_python(end: socket.socket, _: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["false"], stdin=end.fileno(), stdout=end.fileno())


def never_ready(end: socket.socket, _: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "1000"], stdin=end.fileno(), stdout=end.fileno())


@pytest.mark.parametrize("start", [no_python, never_ready])
async def test_where_none_comes_up_those_who_wait_are_told_and_it_is_dead(
    monkeypatch: pytest.MonkeyPatch, start: Start
) -> None:
    monkeypatch.setattr(wishes, "start", start)
    monkeypatch.setattr(decoding, "WALL_S", 0.2)
    async with pool_of(2) as pool:
        assert pool.is_alive, "so far nobody has waited for them"
        asked = ask(pool, b"a", b"b", b"c")
        for each in asked:
            with pytest.raises(BatcherClosed):
                await each.answer()
        assert not pool.is_alive


async def test_where_one_runs_others_that_do_not_come_up_are_no_death(monkeypatch: pytest.MonkeyPatch) -> None:
    async with pool_of(2, 1, warm=False) as pool:
        (first,) = ask(pool, b"first")
        await first.answer()
        ask(pool, b"sleep")
        monkeypatch.setattr(wishes, "start", no_python)
        ask(pool, b"a")

        async def have_failed() -> bool:
            return pool._failed_starts >= 5

        await asyncio.wait_for(eventually(have_failed), WAIT_S)
        assert pool.is_alive


@pytest.mark.parametrize("error", [BlockingIOError("too many processes"), RuntimeError("can't start new thread")])
async def test_where_none_can_be_started_pictures_come_again_later(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def cannot_start(*_: object) -> subprocess.Popen[bytes]:
        raise error

    async with pool_of(warm=False) as pool:
        with monkeypatch.context() as patched:
            patched.setattr(wishes, "start", cannot_start)
            await pool.warm()
            before = connections()
            asked = ask(pool, b"a", b"b")
            for each in asked:
                with pytest.raises(MemoryError):
                    await each.answer()
            assert asked[0].answers != asked[1].answers, "an error knows who raised it"
        assert pool.is_alive
        await are_open(before)
        (later,) = ask(pool, b"c")
        assert await later.answer() == b"c"


async def test_whoever_is_not_done_when_it_closes_is_told() -> None:
    before = connections()
    async with pool_of(2, 2) as pool:
        at_work = ask(pool, b"sleep", b"sleep", b"a", b"b")
        waiting = ask(pool, b"c", b"d")
        (withdrawn,) = ask(pool, b"e")
        withdrawn.job.is_active = False
        assert (sum(len(process.jobs) for process in processes(pool)), len(pool.queue)) == (4, 3)
    for each in at_work + waiting:
        with pytest.raises(BatcherClosed, match="shutting down"):
            await each.answer()
    assert not withdrawn.answers
    await are_open(before)
    with pytest.raises(BatcherClosed):
        ask(pool, b"f")


async def test_it_closes_while_processes_start() -> None:
    before = connections()
    async with pool_of(2, warm=False) as pool:
        warming = asyncio.create_task(pool.warm())
        asked = ask(pool, b"a")
        await asyncio.sleep(0)
    await asyncio.wait_for(warming, WAIT_S)
    with pytest.raises(BatcherClosed):
        await asked[0].answer()
    await are_open(before)


@pytest.mark.parametrize("after_s", [0, 0.01, 0.1])
async def test_who_waited_for_the_start_and_gave_up_does_not_keep_it_from_closing(after_s: float) -> None:
    async with pool_of(2, warm=False) as pool:
        warming = asyncio.create_task(pool.warm())
        await asyncio.sleep(after_s)
        warming.cancel()
        await asyncio.wait([warming])
        await asyncio.wait_for(pool.close(), WAIT_S)
        assert not processes(pool)


async def test_an_answer_on_its_way_when_it_closes_is_not_told_too() -> None:
    async with pool_of(2) as pool:
        asked = ask(pool, *[b"a"] * 16)
        pool._starting.add(asyncio.create_task(asyncio.sleep(0.2)))  # as one that starts: meanwhile, answers come
        await pool.close()
        for each in asked:
            with pytest.raises(BatcherClosed):
                await each.answer()
