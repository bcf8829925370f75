"""The timeout of responses of a decode worker, on an event loop whose clock the tests move."""

from __future__ import annotations

import asyncio

import pytest

from app.decoding.response_timeout import ResponseTimeout
from tests.support.clocks import Clock

pytestmark = pytest.mark.anyio


class Waiting:
    """A timeout, whether a response is awaited, and how often the timeout has called back."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock, self.is_waiting, self.timeouts = Clock(0), True, 0
        monkeypatch.setattr(asyncio.get_running_loop(), "time", self.clock)
        self.timeout = ResponseTimeout(lambda: self.is_waiting, self._count)

    def _count(self) -> None:
        self.timeouts += 1

    async def at(self, seconds: float) -> int:
        """Move the clock, run the timers that are due, and return how often the timeout has called back."""
        self.clock.now = seconds
        for _ in range(5):
            await asyncio.sleep(0)
        return self.timeouts


async def test_overdue_response_gets_another_tenth_of_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        waiting = Waiting(patched)
        waiting.timeout.start()
        assert [await waiting.at(seconds) for seconds in (29.9, 30.01, 30.1, 30.12, 100)] == [0, 0, 0, 1, 1]


async def test_each_response_gives_the_next_one_the_whole_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        waiting = Waiting(patched)
        waiting.timeout.start()
        assert await waiting.at(29) == 0
        waiting.timeout.restart()
        assert await waiting.at(58.9) == 0
        assert await waiting.at(59.01) == 0, "overdue"
        waiting.timeout.restart()
        assert await waiting.at(60) == 0, "the response was read meanwhile"
        assert [await waiting.at(seconds) for seconds in (88.9, 89.02, 89.2)] == [0, 0, 1]


async def test_nothing_times_out_while_no_response_is_awaited_or_after_the_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patched:
        waiting = Waiting(patched)
        waiting.timeout.start()
        waiting.is_waiting = False
        assert [await waiting.at(seconds) for seconds in (30.01, 31)] == [0, 0]
        waiting.is_waiting = True
        waiting.timeout.start()
        waiting.timeout.stop()
        assert [await waiting.at(seconds) for seconds in (62, 63)] == [0, 0]
