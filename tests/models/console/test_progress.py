"""Progress in a terminal, and where there is none."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from models.console import progress
from models.console.progress import silent, track
from training.runtime.thread_map import thread_map


def console(*, terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=120, color_system=None)


def written(to: Console) -> str:
    assert isinstance(to.file, io.StringIO)
    return to.file.getvalue()


@pytest.mark.parametrize(
    ("total", "unit", "shown"),
    [(1200, "images", "1,200 of 1,200 images"), (None, "files", "1,200 files"), (1200, "bytes", "1.2 kB of 1.2 kB")],
)
@pytest.mark.parametrize("terminal", [True, False])
def test_the_end_is_shown(terminal: bool, total: int | None, unit: str, shown: str) -> None:
    screen = console(terminal=terminal)
    with track("Reading [all]", total, unit, screen) as advance:
        for _ in range(12):
            advance(100)
    assert "Reading [all]" in written(screen)
    assert shown in written(screen)


def test_log_has_a_line_now_and_then_and_no_control_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    log = console(terminal=False)
    with track("Reading", 3, console=log) as advance:
        for _ in range(3):
            advance(1)
    lines = written(log).splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("Reading: 1 of 3 images")
    assert lines[-1] == "Reading: 3 of 3 images in 0 s"
    assert "\x1b" not in written(log)


def test_log_is_short_where_work_is() -> None:
    log = console(terminal=False)
    with track("Reading", 1000, console=log) as advance:
        for _ in range(1000):
            advance(1)
    assert len(written(log).splitlines()) == 1


@pytest.mark.parametrize("terminal", [True, False])
def test_error_passes_through(terminal: bool) -> None:
    log = console(terminal=terminal)
    with pytest.raises(ValueError, match="x"), track("Reading", 3, console=log):
        raise ValueError("x")
    assert "3 of 3" not in written(log)


def test_threads_keep_the_order_and_count_everything() -> None:
    done: list[int] = []
    assert thread_map(lambda number: number * 2, range(100), done.append) == list(range(0, 200, 2))
    assert sum(done) == 100


def test_error_in_a_thread_is_raised() -> None:
    def fail(number: int) -> None:
        raise OSError(str(number))

    with silent("Reading", 100) as advance, pytest.raises(OSError, match="0"):
        thread_map(fail, range(100), advance)
