"""`python -m tests.support.tiny_server`: the real server process on the tiny store that APP_STORE names.

TINY_LOAD_S slows the start down, TINY_DELAY_S every batch after it; with TINY_FAILS they all fail, and with TINY_DIES
the thread dies that takes the second of them. With TINY_DECODES_NOTHING, processes that decode end when they start.
"""

from __future__ import annotations

import os
import time
from itertools import count
from typing import Any

from app.__main__ import end, main
from app.batching.scheduler import BatchScheduler, ScheduledBatch
from app.settings import Settings
from models.artifacts.catalog import Catalog
from models.artifacts.store import Versions
from models.decoding import protocol as wishes
from tests.support import tiny_app as tiny
from tests.support.decode_worker import changed


def load(settings: Settings, before: Catalog | None = None, hidden: Versions = frozenset()) -> Catalog:
    time.sleep(float(os.environ.get("TINY_LOAD_S", "0")))
    delay_s = float(os.environ.get("TINY_DELAY_S", "0"))
    fails = bool(os.environ.get("TINY_FAILS"))
    engines = {name: tiny.ColourEngine(delay_s=delay_s, fails=fails) for name in ("near_net", "far_net")}
    return tiny.load(settings, before, hidden, engines=engines)


def make_mortal() -> None:
    """Let a thread of a batcher meet what no error of an engine can do to it."""
    take, taken = BatchScheduler.next_batch, count(1)

    def take_or_die(line: BatchScheduler[Any], now: float, being_made: int = 0) -> ScheduledBatch[Any]:
        if next(taken) == 2:
            raise ZeroDivisionError
        return take(line, now, being_made)

    BatchScheduler.next_batch = take_or_die  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    if os.environ.get("TINY_DIES"):
        make_mortal()
    if os.environ.get("TINY_DECODES_NOTHING"):
        wishes.spawn = changed("raise SystemExit(1)")  # type: ignore[assignment]
    end(main(load))
