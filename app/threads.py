"""Work that blocks, beside the event loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import sys
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_NICE = 3


def lower_thread_priority() -> None:
    """The system serves this thread, and what it starts, after the event loop: who is refused waits for no network.

    Only Linux has priorities of threads.
    """
    if sys.platform == "linux":
        os.nice(_NICE)


async def run_in_daemon_thread(function: Callable[[], T]) -> T:
    """Run a function in a thread that keeps neither the event loop waiting, nor the process from ending."""
    done: concurrent.futures.Future[T] = concurrent.futures.Future()

    def run() -> None:
        if not done.set_running_or_notify_cancel():
            return
        try:
            lower_thread_priority()
            done.set_result(function())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=run, name="load", daemon=True).start()
    return await asyncio.wrap_future(done)
