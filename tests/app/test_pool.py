"""Processes that share what waits: what becomes of pictures when one ends, does not start, or is not heard of again."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from app import decoding
from app.decoding import Job, Process, Sender
from app.errors import Closed
from app.pool import Pool
from models import apart
from models.apart import Header, Wish
from models.errors import UndecodableImage
from models.image import DEFAULT_LIMITS
from tests.app.conftest import eventually
from tests.app.decoders import OBEDIENT
from tests.models.decoders import WAIT_S, children, connections

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")]

WISH = Wish((), DEFAULT_LIMITS)


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
    monkeypatch.setattr(apart, "start", OBEDIENT)


@dataclass(eq=False)
class Asked:
    """A job, and what was told of it."""

    data: bytes
    answers: list[bytes | BaseException] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.done = asyncio.Event()
        self.job = Job(Sender(), WISH, self.data, lambda _, body: self._put(body), self._put)

    def _put(self, answer: bytes | BaseException) -> None:
        self.answers.append(answer)
        self.done.set()

    async def answer(self) -> bytes:
        await asyncio.wait_for(self.done.wait(), WAIT_S)
        (answer,) = self.answers
        if isinstance(answer, BaseException):
            raise answer
        return answer


def ask(pool: Pool, *pictures: bytes) -> list[Asked]:
    asked = [Asked(data) for data in pictures]
    for each in asked:
        pool.join(each.job)
    return asked


@asynccontextmanager
async def pool_of(most: int = 1, ahead: int = 8, *, warm: bool = True) -> AsyncIterator[Pool]:
    def tell(job: Job, header: Header, body: bytes) -> None:
        apart.check(header)
        job.tell(header, body)

    pool = Pool(most, ahead, tell)
    try:
        if warm:
            await pool.warm()
        yield pool
    finally:
        await pool.close()


def processes(pool: Pool) -> list[Process]:
    return list(pool._processes)


def pid(process: Process) -> int:
    assert process._process
    return process._process.pid


def await_end(process: Process) -> None:
    """Block until it has ended, while its event loop does not hear of it."""
    os.waitid(os.P_PID, pid(process), os.WEXITED | os.WNOWAIT)


async def is_at_work(pool: Pool) -> None:
    async def holds() -> bool:
        return any(process.jobs for process in pool._processes)

    await asyncio.wait_for(eventually(holds), WAIT_S)


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
        assert (len(process.jobs), len(pool.turns)) == (3, 2)
    async with pool_of() as pool:
        ask(pool, b"sleep", bytes(200_000), b"c", b"d")
        (process,) = processes(pool)
        assert (len(process.jobs), len(pool.turns)) == (2, 2), "the second is work enough"


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
        first.job.is_wanted = second.job.is_wanted = False
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
        assert not first.job.was_lost, "it was we who ended it: nothing is to be tried again"
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


def no_python(end: socket.socket) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["false"], stdin=end.fileno(), stdout=end.fileno())


def never_ready(end: socket.socket) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "1000"], stdin=end.fileno(), stdout=end.fileno())


@pytest.mark.parametrize("start", [no_python, never_ready])
async def test_where_none_comes_up_those_who_wait_are_told_and_it_is_dead(
    monkeypatch: pytest.MonkeyPatch, start: object
) -> None:
    monkeypatch.setattr(apart, "start", start)
    monkeypatch.setattr(decoding, "WALL_S", 0.2)
    async with pool_of(2) as pool:
        assert pool.is_alive, "so far nobody has waited for them"
        asked = ask(pool, b"a", b"b", b"c")
        for each in asked:
            with pytest.raises(Closed):
                await each.answer()
        assert not pool.is_alive


async def test_where_one_runs_others_that_do_not_come_up_are_no_death(monkeypatch: pytest.MonkeyPatch) -> None:
    async with pool_of(2, 1, warm=False) as pool:
        ask(pool, b"sleep")
        await is_at_work(pool)
        monkeypatch.setattr(apart, "start", no_python)
        ask(pool, b"a")

        async def have_failed() -> bool:
            return pool._failed_starts >= 5

        await asyncio.wait_for(eventually(have_failed), WAIT_S)
        assert pool.is_alive


@pytest.mark.parametrize("error", [BlockingIOError("too many processes"), RuntimeError("can't start new thread")])
async def test_where_none_can_be_started_pictures_come_again_later(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def cannot_start(_: socket.socket) -> subprocess.Popen[bytes]:
        raise error

    async with pool_of(warm=False) as pool:
        with monkeypatch.context() as patched:
            patched.setattr(apart, "start", cannot_start)
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
        withdrawn.job.is_wanted = False
        assert (sum(len(process.jobs) for process in processes(pool)), len(pool.turns)) == (4, 3)
    for each in at_work + waiting:
        with pytest.raises(Closed, match="shutting down"):
            await each.answer()
    assert not withdrawn.answers
    await are_open(before)
    with pytest.raises(Closed):
        ask(pool, b"f")


async def test_it_closes_while_processes_start() -> None:
    before = connections()
    async with pool_of(2, warm=False) as pool:
        warming = asyncio.create_task(pool.warm())
        asked = ask(pool, b"a")
        await asyncio.sleep(0)
    await asyncio.wait_for(warming, WAIT_S)
    with pytest.raises(Closed):
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
            with pytest.raises(Closed):
                await each.answer()
