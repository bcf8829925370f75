"""A process ends, or answers what is no answer: what that costs whoever waits for it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import pytest

from app.decoding import worker_process as decoding
from app.decoding.worker_process import DecodeWorker
from models.decoding import protocol as wishes
from models.errors import UndecodableImage
from tests.app.conftest import eventually
from tests.support.decode_worker import WAIT_S
from tests.support.decoder_pool import OBEDIENT, ask, pool_of, processes

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's"),
]


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}  # as the server does


@pytest.fixture(autouse=True)
def obedient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wishes, "start", OBEDIENT)


def pid(process: DecodeWorker) -> int:
    assert process._process
    return process._process.pid


def await_end(process: DecodeWorker) -> None:
    """Block until it has ended, while its event loop does not hear of it."""
    os.waitid(os.P_PID, pid(process), os.WEXITED | os.WNOWAIT)


async def test_one_that_crashes_costs_its_picture_only() -> None:
    async with pool_of() as pool:
        before, first, *rest = ask(pool, b"nap", b"abort", b"a", b"abort", b"b")
        assert len(processes(pool)[0].jobs) == 5
        assert await before.answer() == b"nap"
        with pytest.raises(UndecodableImage, match="breaks the decoder"):
            await first.answer()
        assert await rest[0].answer() == b"a"
        with pytest.raises(UndecodableImage):
            await rest[1].answer()
        assert await rest[2].answer() == b"b"
        assert pool.is_alive


async def test_what_was_answered_before_a_crash_is_not_lost() -> None:
    async with pool_of() as pool:
        first, second = ask(pool, b"a", b"abort")
        (process,) = processes(pool)
        await_end(process)  # the event loop is late, and has read no answer
        process._transport.write(b"what cannot be sent")  # type: ignore[union-attr]
        (third,) = ask(pool, b"b")
        assert [await first.answer(), await third.answer()] == [b"a", b"b"]
        with pytest.raises(UndecodableImage):
            await second.answer()


async def test_where_all_are_killed_at_once_no_picture_is_lost() -> None:
    async with pool_of(3) as pool:
        for process in processes(pool):
            os.kill(pid(process), signal.SIGKILL)
            await_end(process)
        asked = ask(pool, b"a", b"b", b"c", b"d")
        assert [await each.answer() for each in asked] == [each.data for each in asked]


async def test_one_that_is_killed_at_work_costs_no_picture() -> None:
    async with pool_of() as pool:
        asked = ask(pool, b"nap", b"a")
        os.kill(pid(processes(pool)[0]), signal.SIGKILL)
        assert [await each.answer() for each in asked] == [b"nap", b"a"]


async def test_one_that_is_killed_at_rest_costs_no_picture() -> None:
    async with pool_of() as pool:
        os.kill(pid(processes(pool)[0]), signal.SIGKILL)
        (asked,) = ask(pool, b"a")
        assert await asked.answer() == b"a"
        os.kill(pid(processes(pool)[0]), signal.SIGKILL)

        async def is_gone() -> bool:
            return not processes(pool)

        await asyncio.wait_for(eventually(is_gone), WAIT_S)
        (asked,) = ask(pool, b"b")
        assert await asked.answer() == b"b"


async def test_a_picture_over_which_two_were_killed_is_refused() -> None:
    async with pool_of() as pool:
        first, second = ask(pool, b"kill", b"a")
        with pytest.raises(UndecodableImage, match="too much memory"):
            await first.answer()
        assert await second.answer() == b"a"


async def test_a_withdrawn_picture_is_not_tried_again() -> None:
    async with pool_of() as pool:
        first, second = ask(pool, b"kill", b"abort")
        first.job.is_active = second.job.is_active = False
        await processes(pool)[0].ended
        (third,) = ask(pool, b"a")
        assert await third.answer() == b"a"
        assert not first.answers
        assert not second.answers


async def test_a_picture_that_takes_too_long_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "WALL_S", 5.0)  # for the start, too
    async with pool_of() as pool:
        first, second = ask(pool, b"sleep", b"a")
        with pytest.raises(UndecodableImage, match="takes too long"):
            await first.answer()
        assert not first.job.was_retried, "it was we who ended it: nothing is to be tried again"
        assert await second.answer() == b"a"


@pytest.mark.parametrize("answer", [b"garbage", b"number", b"nothing"])
async def test_what_is_no_answer_costs_its_picture_only(answer: bytes) -> None:
    async with pool_of() as pool:
        first, second = ask(pool, answer, b"a")
        with pytest.raises(UndecodableImage):
            await first.answer()
        assert await second.answer() == b"a"


async def test_an_answer_that_nobody_asked_for_ends_the_process() -> None:
    async with pool_of() as pool:
        (process,) = processes(pool)
        (asked,) = ask(pool, b"twice")
        assert await asked.answer() == b"twice"
        await asyncio.wait_for(process.ended, WAIT_S)
        (asked,) = ask(pool, b"a")
        assert await asked.answer() == b"a"


async def test_one_that_leaves_something_behind_which_holds_its_connection_is_given_up_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decoding, "WALL_S", 3.0)
    async with pool_of() as pool:
        first, second = ask(pool, b"child", b"a")
        with pytest.raises(UndecodableImage):
            await first.answer()
        assert await second.answer() == b"a"
        ask(pool, b"child")
        await asyncio.sleep(0.5)
    assert not processes(pool), "closed, although a child holds the connection"
