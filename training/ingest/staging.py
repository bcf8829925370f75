"""Atomic creation of a dataset: it is built in a staging folder and then renamed, so it is complete or absent."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from training.errors import DatasetError


class Staging(NamedTuple):
    """Two empty folders: `dataset` becomes the dataset, `scratch` is deleted."""

    dataset: Path
    scratch: Path


def child_folder(parent: Path, name: str) -> Path:
    """Return the folder `name` directly below `parent`.

    Raises:
        DatasetError: the name is not a plain folder name.
    """
    if not name or name.startswith(".") or "/" in name or not name.isprintable():
        raise DatasetError(
            f"{name!r} cannot name a folder. Use a name without / and control characters that begins with no dot."
        )
    return parent / name


@contextmanager
def stage_dataset(destination: Path, *, replace: bool = False) -> Iterator[Staging]:
    """Provide folders to build a dataset in; `Staging.dataset` becomes `destination` if the block succeeds.

    If the block fails, nothing is left behind and an existing dataset stays.

    Args:
        destination: folder of the new dataset.
        replace: replace an existing dataset.

    Raises:
        DatasetError: the dataset exists, another import of it is running, or the disk reports an error.
    """
    if destination.exists() and not replace:
        raise DatasetError(f"{destination} already exists. Choose another name, or replace it with --replace.")
    parent = destination.with_name(f".importing-{destination.name}")
    staging = Staging(parent / "dataset", parent / "scratch")
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with _exclusive_import(parent, destination):
            try:
                for folder in staging:
                    shutil.rmtree(folder, ignore_errors=True)  # left by an import that was killed
                    folder.mkdir()
                yield staging
                _move_into_place(staging.dataset, destination)
            finally:
                shutil.rmtree(parent, ignore_errors=True)
    except OSError as error:
        raise DatasetError(f"The import to {destination} failed and changed nothing: {error}.") from error


@contextmanager
def _exclusive_import(folder: Path, destination: Path) -> Iterator[None]:
    """Hold a lock on the staging folder. The system releases it when the process ends, even if it is killed."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise DatasetError(f"Another import to {destination} is running. Wait until it ends.") from error
    else:
        yield
    finally:
        os.close(descriptor)


def _move_into_place(new: Path, destination: Path) -> None:
    if not destination.exists():
        new.rename(destination)
        return
    old = destination.with_name(f".replaced-{destination.name}")
    shutil.rmtree(old, ignore_errors=True)
    destination.rename(old)
    try:
        new.rename(destination)
    except OSError:
        old.rename(destination)
        raise
    shutil.rmtree(old, ignore_errors=True)
