"""Run blocking work in threads beside the event loop.

asyncio's default executor serves only the server's own work: reloads, new decode processes, name lookups. What a client
can make slow, such as parsing its body, runs in threads of its own, so that it delays other requests at most.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import functools
import os
import sys
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_NICE_INCREMENT = 3
"""Below the event loop (0) and above the decode workers (10). At four times the peak load it raised the share of
accepted requests that meet their deadline from .98 to .99 and more (docs/benchmarks.md)."""

_request_threads = concurrent.futures.ThreadPoolExecutor(min(32, (os.cpu_count() or 1) + 4), "request")  # as asyncio's


def lower_thread_priority() -> None:
    """Lower this thread's priority below the event loop's, so that rejections stay fast under load.

    Threads that it starts inherit the priority. Only Linux has thread priorities; elsewhere this does nothing.
    """
    if sys.platform == "linux":
        os.nice(_NICE_INCREMENT)


async def run_in_daemon_thread(function: Callable[[], T]) -> T:
    """Run a function in a daemon thread, which does not keep the process alive at exit; return its result."""
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


async def run_in_request_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run work whose duration depends on a request as `asyncio.to_thread` does, but in threads of its own."""
    call = functools.partial(contextvars.copy_context().run, function, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_request_threads, call)
