"""A dataset is built beside its place and renamed into it: it is there whole, or not at all."""

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
    """Two empty folders: what is built in `dataset` stays, `scratch` goes."""

    dataset: Path
    scratch: Path


def folder_in(parent: Path, name: str) -> Path:
    """The folder `name` right below `parent`; raises DatasetError if that is no plain name."""
    if not name or name.startswith(".") or "/" in name or not name.isprintable():
        raise DatasetError(
            f"{name!r} cannot name a folder here: leave out / and control characters, begin with no dot."
        )
    return parent / name


@contextmanager
def staged(destination: Path, *, replace: bool = False) -> Iterator[Staging]:
    """Folders to build a dataset in. It becomes `destination` when the block ends without an error.

    Whatever goes wrong, nothing is left behind and a dataset that was there stays.

    Args:
        destination: the dataset's place.
        replace: put it in the place of the dataset that is there.

    Raises:
        DatasetError: there is a dataset already, another import of it is under way, or the disk refuses.
    """
    if destination.exists() and not replace:
        raise DatasetError(f"{destination} exists already. Choose another name, or replace it with --replace.")
    workshop = destination.with_name(f".importing-{destination.name}")
    staging = Staging(workshop / "dataset", workshop / "scratch")
    try:
        workshop.mkdir(parents=True, exist_ok=True)
        with _only_import(workshop, destination):
            try:
                for folder in staging:
                    shutil.rmtree(folder, ignore_errors=True)  # what a killed import left
                    folder.mkdir()
                yield staging
                _exchange(staging.dataset, destination)
            finally:
                shutil.rmtree(workshop, ignore_errors=True)
    except OSError as error:
        raise DatasetError(f"The import to {destination} stopped, nothing was changed: {error}.") from error


@contextmanager
def _only_import(workshop: Path, destination: Path) -> Iterator[None]:
    """Hold a lock that ends with the process, however it ends."""
    descriptor = os.open(workshop, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise DatasetError(f"Another import to {destination} is under way. Wait for its end.") from error
    else:
        yield
    finally:
        os.close(descriptor)


def _exchange(new: Path, destination: Path) -> None:
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
