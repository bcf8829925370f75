"""Crash-safe folder writes: a folder appears complete or not at all."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_STAGING_PREFIX = ".writing-"


@contextmanager
def exclusive_lock(parent: Path) -> Iterator[None]:
    """Create the folder if missing, lock it exclusively for writing, and remove leftovers of killed writers."""
    parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(parent, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        for leftover in parent.glob(f"{_STAGING_PREFIX}*"):
            shutil.rmtree(leftover)
        yield
    finally:
        os.close(descriptor)


def write_atomically(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files to a staging folder and rename it to `folder`. The caller holds the lock of the parent folder."""
    staging = Path(tempfile.mkdtemp(prefix=_STAGING_PREFIX, dir=folder.parent))
    try:
        for file, data in files.items():
            _write_durably(staging / file, data)
        staging.chmod(0o755)
        staging.rename(folder)
    except BaseException:
        shutil.rmtree(staging)
        raise


def _write_durably(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
