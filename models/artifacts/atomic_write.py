"""Folders that appear whole or not at all, whatever becomes of whoever writes them."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_STAGING = ".writing-"


@contextmanager
def exclusive_lock(parent: Path) -> Iterator[None]:
    """Be the only one that writes below a folder; what a killed writer left there is removed."""
    parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(parent, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        for abandoned in parent.glob(f"{_STAGING}*"):
            shutil.rmtree(abandoned)
        yield
    finally:
        os.close(descriptor)


def write_atomically(place: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder of files beside its place, and rename it into it; only for the only writer of its parent."""
    staging = Path(tempfile.mkdtemp(prefix=_STAGING, dir=place.parent))
    try:
        for file, data in files.items():
            _write_durably(staging / file, data)
        staging.chmod(0o755)
        staging.rename(place)
    except BaseException:
        shutil.rmtree(staging)
        raise


def _write_durably(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
