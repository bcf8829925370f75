"""Clocks that tests move."""

from __future__ import annotations

import asyncio
import time

import pytest

from app.batching import batcher, queue, request, worker


class Clock:
    """Seconds that only a test moves, from those of a real clock on."""

    def __init__(self, now: float) -> None:
        """Start at a time."""
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


class RunningClock(Clock):
    """A monotonic clock that runs on, and that a test moves besides."""

    def __call__(self) -> float:
        return time.monotonic() + self.now


def wall_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Replace `time.time`."""
    clock = Clock(time.time())
    monkeypatch.setattr(time, "time", clock)
    return clock


def batching_clock(monkeypatch: pytest.MonkeyPatch, *, runs: bool = False) -> Clock:
    """Replace the clock of batchers by one that stands still or runs."""
    clock = RunningClock(0) if runs else Clock(time.monotonic())
    for module in (batcher, queue, request, worker):
        monkeypatch.setattr(module, "clock", clock)
    return clock


def advance_loop(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let time pass for the timers of the running event loop of asyncio."""
    loop = asyncio.get_running_loop()
    real = loop.time
    monkeypatch.setattr(loop, "time", lambda: real() + seconds)
