"""Runs the tiny fit; with a number, kills itself (SIGKILL) when so many images have been fitted.

python -m tests.training.fit_process DATA CACHE [IMAGES]
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models.progress import Advance
from tests.training import tiny_fit
from training.network import fit


def main(data: Path, cache: Path, deadly: int | None) -> None:
    @contextmanager
    def track(description: str, total: int | None, unit: str = "images") -> Iterator[Advance]:
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            if description == "Fitting" and done == deadly:
                os.kill(os.getpid(), signal.SIGKILL)

        yield advance

    # In parts: operations run side by side then, which must not show in the figures.
    print(fit(tiny_fit.network(parts=2), 7, tiny_fit.load(data), None, cache, track, print).folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if sys.argv[3:] else None)
