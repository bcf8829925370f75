"""Archives -> folders, without trusting what is in them.

Regular files only, each of them inside the folder: no links, no devices, no absolute paths, no `..`.
"""

from __future__ import annotations

import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from models.console.progress import Track, silent
from training.errors import DatasetError


def unpack(archive: Path, folder: Path, track: Track = silent) -> None:
    """Unpack a .zip or .tar archive (.tar.gz, .tar.bz2, .tar.xz) into a folder, which is made.

    Raises:
        DatasetError: it is no whole archive, or holds a member that would lie outside the folder.
    """
    try:
        with track(f"Unpacking {archive.name}", None, "files") as advance:
            for name, content in _members(archive):
                place = folder / _safe(name, archive)
                place.parent.mkdir(parents=True, exist_ok=True)
                with place.open("wb") as file:
                    shutil.copyfileobj(content, file)
                advance(1)
    except DatasetError:
        raise
    except Exception as error:  # a damaged archive raises EOFError, zlib.error, struct.error and more
        reason = str(error) or type(error).__name__
        raise DatasetError(
            f"{archive} cannot be unpacked ({reason}). It has to be a whole .zip or .tar archive."
        ) from error


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Name and content of every file; a content is read before the next is asked for."""
    if tarfile.is_tarfile(archive):
        yield from _members_of_tar(archive)
    else:
        yield from _members_of_zip(archive)


def _members_of_tar(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(archive) as members:
        for member in members:
            if member.isdir():
                continue
            content = members.extractfile(member) if member.isreg() else None
            if content is None:
                raise DatasetError(
                    f"{archive} holds a link or device ({member.name!r}). Unpack it yourself if you trust it."
                )
            with content:
                yield member.name, content


def _members_of_zip(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(archive) as members:
        for member in members.infolist():
            if not member.is_dir():
                with members.open(member) as content:
                    yield member.filename, content


def _safe(name: str, archive: Path) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise DatasetError(f"{archive} wants to write outside its folder ({name!r}). Do not trust its source.")
    return path
