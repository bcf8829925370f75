"""Runs a module that kills itself (SIGKILL) when it comes to a certain point.

python -m tests.support.killed EVENT PART COUNT MODULE [ARGUMENT...]

The point is the COUNT-th audit event EVENT, such as `open` or `os.rename`, whose arguments contain PART.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
from typing import Any


def kill_at(event: str, part: str, count: int) -> None:
    """Kill this process at its COUNT-th event of that kind from now on."""
    left = count

    def watch(happened: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if happened == event and part in " ".join(map(str, arguments)):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


if __name__ == "__main__":
    kill_at(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    sys.argv = sys.argv[4:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
