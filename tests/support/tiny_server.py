"""`python -m tests.support.tiny_server`: the real server on the tiny store that APP_STORE names, with faults on demand.

TINY_LOAD_S: seconds that loading the models takes.
TINY_DELAY_S: seconds that each batch takes after the warm-up.
TINY_FAILS: every batch after the warm-up fails.
TINY_DIES: the thread that takes the second batch dies.
TINY_DECODES_NOTHING: decode workers exit when they start.
"""

from __future__ import annotations

import os
import time
from itertools import count
from typing import Any

from app.__main__ import exit_immediately, main
from app.batching.request import ScheduledBatch
from app.batching.scheduler import BatchScheduler
from app.settings import Settings
from models.artifacts.catalog import Catalog
from models.artifacts.store import ArtifactVersions
from models.decoding import protocol
from tests.support import colour_store
from tests.support.colour_engine import ColourEngine
from tests.support.decode_worker import patched_worker


def load(settings: Settings, before: Catalog | None = None, hidden: ArtifactVersions = frozenset()) -> Catalog:
    """Load the models with the delays and faults that the environment variables ask for."""
    time.sleep(float(os.environ.get("TINY_LOAD_S", "0")))
    delay_s = float(os.environ.get("TINY_DELAY_S", "0"))
    fails = bool(os.environ.get("TINY_FAILS"))
    engines = {name: ColourEngine(delay_s=delay_s, fails=fails) for name in ("near_net", "far_net")}
    return colour_store.load_models(settings, before, hidden, engines=engines)


def make_batch_worker_die() -> None:
    """Make the second batch end its worker thread, which errors of an engine cannot do."""
    next_batch, calls = BatchScheduler.next_batch, count(1)

    def next_batch_or_die(*arguments: Any, **named: Any) -> ScheduledBatch[Any]:
        if next(calls) == 2:
            raise ZeroDivisionError
        return next_batch(*arguments, **named)

    BatchScheduler.next_batch = next_batch_or_die  # type: ignore[method-assign]


if __name__ == "__main__":
    if os.environ.get("TINY_DIES"):
        make_batch_worker_die()
    if os.environ.get("TINY_DECODES_NOTHING"):
        protocol.spawn = patched_worker("raise SystemExit(1)")  # type: ignore[assignment]
    exit_immediately(main(load))
