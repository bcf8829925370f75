"""Progress in a terminal and in a log."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from models.console import progress
from models.console.progress import track


def console(*, terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=120, color_system=None)


def text_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("total", "unit", "shown"),
    [(1200, "images", "1,200 of 1,200 images"), (None, "files", "1,200 files"), (1200, "bytes", "1.2 kB of 1.2 kB")],
)
@pytest.mark.parametrize("terminal", [True, False])
def test_final_amount_is_shown(terminal: bool, total: int | None, unit: str, shown: str) -> None:
    screen = console(terminal=terminal)
    with track("Reading [all]", total, unit, screen) as advance:
        for _ in range(12):
            advance(100)
    assert "Reading [all]" in text_of(screen)
    assert shown in text_of(screen)


def test_log_has_occasional_lines_without_control_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    log = console(terminal=False)
    with track("Reading", 3, console=log) as advance:
        for _ in range(3):
            advance(1)
    lines = text_of(log).splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("Reading: 1 of 3 images")
    assert lines[-1] == "Reading: 3 of 3 images in 0 s"
    assert "\x1b" not in text_of(log)


def test_short_work_logs_one_line() -> None:
    log = console(terminal=False)
    with track("Reading", 1000, console=log) as advance:
        for _ in range(1000):
            advance(1)
    assert len(text_of(log).splitlines()) == 1


@pytest.mark.parametrize("terminal", [True, False])
def test_error_is_propagated(terminal: bool) -> None:
    log = console(terminal=terminal)
    with pytest.raises(ValueError, match="x"), track("Reading", 3, console=log):
        raise ValueError("x")
    assert "3 of 3" not in text_of(log)
