"""Interruptions at a chosen point: the COUNT-th audit event EVENT, such as `open`, with PART in its arguments.

`python -m tests.support.killed EVENT PART COUNT MODULE [ARGUMENT...]` runs a module that kills itself (SIGKILL) there.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any


class Interrupted(BaseException):
    """Raised instead of a kill. Not an Exception, so that no error handler catches it."""


Watcher = Callable[[str, tuple[Any, ...]], None]
_watchers: set[Watcher] = set()


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    for watcher in tuple(_watchers):
        watcher(event, arguments)


@cache
def _install() -> None:
    sys.addaudithook(_audit)  # cannot be removed, so there is one for all watchers


def _call_at(event: str, part: str, count: int, action: Callable[[], None]) -> Watcher:
    """Call `action` at the COUNT-th such event from now on; return the watcher, which can be discarded."""
    left = count

    def watcher(name: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if name == event and part in " ".join(map(str, arguments)):
            left -= 1
            if left == 0:
                action()

    _install()
    _watchers.add(watcher)
    return watcher


def kill_at(event: str, part: str, count: int) -> None:
    """Kill this process at the COUNT-th such event from now on."""
    _call_at(event, part, count, lambda: os.kill(os.getpid(), signal.SIGKILL))


@contextmanager
def interrupted_at(event: str, part: str, count: int) -> Iterator[None]:
    """Interrupt this block at the COUNT-th such event in it; fail if the block ends before."""

    def interrupt() -> None:
        raise Interrupted

    watcher = _call_at(event, part, count, interrupt)
    try:
        yield
    except Interrupted:
        return
    finally:
        _watchers.discard(watcher)
    raise AssertionError(f"there were no {count} events {event} of {part}")


if __name__ == "__main__":
    kill_at(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    sys.argv = sys.argv[4:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
