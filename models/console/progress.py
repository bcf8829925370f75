"""Progress of long operations: a progress bar in a terminal, occasional lines in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from rich import filesize
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

Advance = Callable[[int], None]
"""Reports a number of completed units."""

SECONDS_BETWEEN_LINES = 30.0
"""Interval of progress lines without a terminal."""


def ignore(count: int) -> None:
    """Ignore progress; an `Advance`."""


class Track(Protocol):
    """Type of `track`: `with track("Reading", 100) as advance: ... advance(1)`."""

    def __call__(
        self, description: str, total: int | None, unit: str = "images"
    ) -> AbstractContextManager[Advance]: ...


@contextmanager
def silent(description: str, total: int | None, unit: str = "images") -> Iterator[Advance]:  # noqa: ARG001
    """Show no progress; a `Track`."""
    yield ignore


@contextmanager
def track(
    description: str, total: int | None, unit: str = "images", console: Console | None = None
) -> Iterator[Advance]:
    """Show progress: amount done, speed and remaining time.

    Without a terminal (a log, a pipe), write a line every SECONDS_BETWEEN_LINES and one at the end.

    Args:
        description: name of the operation.
        total: total amount; None if unknown.
        unit: counted unit; "bytes" are shown as kB, MB or GB.
        console: output; by default standard error, so that standard output has only results.

    Yields:
        advance: call it with the amount done since the last call, from any thread.
    """
    console = console or Console(stderr=True)
    with _progress_bar(console) as bar:
        task_id = bar.add_task(description, total=total, unit=unit)
        task = bar.tasks[0]
        last_line = time.monotonic()

        def advance(count: int) -> None:
            nonlocal last_line
            bar.advance(task_id, count)
            if bar.disable and time.monotonic() - last_line >= SECONDS_BETWEEN_LINES:
                last_line = time.monotonic()
                _write(console, _line(task))

        yield advance
        if bar.disable:
            _write(console, f"{description}: {_done(task)} in {task.elapsed or 0:.0f} s")


def _progress_bar(console: Console) -> Progress:
    """Create a progress bar; without a terminal it only counts."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        _DoneColumn(),
        _RateColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=console,
        disable=not console.is_terminal,
        speed_estimate_period=60,
    )


class _DoneColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(_done(task), style="progress.download")


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(_rate(task), style="progress.data.speed")


def _line(task: Task) -> str:
    remaining = "" if task.time_remaining is None else f", {task.time_remaining:,.0f} s left"
    return f"{task.description}: {_done(task)}, {_rate(task)}{remaining}"


def _done(task: Task) -> str:
    if task.total is None:
        return _amount(task.completed, task)
    if _counts_bytes(task):
        return f"{_amount(task.completed, task)} of {_amount(task.total, task)}"
    return f"{task.completed:,.0f} of {_amount(task.total, task)}"


def _rate(task: Task) -> str:
    speed = task.finished_speed or task.speed
    if speed is None:
        return ""
    if _counts_bytes(task):
        return f"{filesize.decimal(int(speed))}/s"
    return f"{speed:,.0f}/s" if speed >= 10 else f"{speed:.1f}/s"


def _amount(count: float, task: Task) -> str:
    return filesize.decimal(int(count)) if _counts_bytes(task) else f"{count:,.0f} {task.fields['unit']}"


def _counts_bytes(task: Task) -> bool:
    return bool(task.fields["unit"] == "bytes")


def _write(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
