"""Dataset archives: unpacked safely, once, into the cache.

Archives are not trusted: only regular files inside the target folder are written. Links, devices, absolute paths and
`..` are errors.
"""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from models.console.progress import Track, silent
from models.file_names import zip_entry_name
from training.data.layout import entries, is_wrapper
from training.errors import DatasetError
from training.runtime.folders import CACHE_FOLDER


def locate_root(location: Path, split: str, cache: Path = CACHE_FOLDER) -> Path:
    """Return the root folder of a dataset; an archive (.tar, .tar.gz, .zip ...) is unpacked into the cache first.

    Folders that contain nothing but one other folder are skipped, down to the folder that contains a split; with an
    empty `split`, all of them.

    Raises:
        DatasetError: nothing is at the location, or the archive cannot be unpacked.
    """
    if location.is_dir():
        return _skip_wrappers(location, split)
    if not location.is_file():
        raise DatasetError(
            f"There is no dataset at {location}. Give its location with --data, or see: training import --help"
        )
    return _skip_wrappers(_unpack_once(location, cache), split)


def _unpack_once(archive: Path, cache: Path) -> Path:
    """Return the cached folder of an archive, which is identified by its path, size and modification time."""
    stat = archive.stat()
    # Earlier versions read the names in zips in another way.
    names = " names: UTF-8" if archive.suffix.lower() == ".zip" else ""
    identity = f"{archive.resolve()} {stat.st_size} {stat.st_mtime_ns}{names}".encode("utf-8", "surrogateescape")
    key = hashlib.sha256(identity).hexdigest()[:16]
    folder = cache / "archives" / key
    if not folder.is_dir():
        staging = folder.with_name(f".unpacking-{key}")
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        unpack(archive, staging)
        staging.rename(folder)
    return folder


def _skip_wrappers(folder: Path, split: str) -> Path:
    content = entries(folder)
    if len(content) != 1 or not content[0].is_dir() or content[0].name == split:
        return folder
    return _skip_wrappers(content[0], split) if not split or is_wrapper(content[0]) else folder


def unpack(archive: Path, folder: Path, track: Track = silent) -> None:
    """Unpack a .zip or .tar archive (.tar.gz, .tar.bz2, .tar.xz) into a folder, which is created.

    Raises:
        DatasetError: the archive is damaged or of another format, or has a member that is not a plain file inside the
            folder.
    """
    try:
        with track(f"Unpacking {archive.name}", None, "files") as advance:
            for name, content in _members(archive):
                target = folder / _safe_path(name, archive)
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("wb") as file:
                    shutil.copyfileobj(content, file)
                advance(1)
    except DatasetError:
        raise
    except Exception as error:  # a damaged archive raises EOFError, zlib.error, struct.error and more
        reason = str(error) or type(error).__name__
        raise DatasetError(
            f"{archive} cannot be unpacked ({reason}). It has to be a complete .zip or .tar archive."
        ) from error


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield name and content of every file; read each content before taking the next."""
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
                    f"{archive} contains a link or device ({member.name!r}). Unpack it yourself if you trust it."
                )
            with content:
                yield member.name, content


def _members_of_zip(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(archive) as members:
        for member in members.infolist():
            name = zip_entry_name(member)
            if not name.endswith("/"):
                with members.open(member) as content:
                    yield name, content


def _safe_path(name: str, archive: Path) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise DatasetError(
            f"{archive} contains a path outside its folder ({name!r}). Get the archive from a source that you trust."
        )
    return path
