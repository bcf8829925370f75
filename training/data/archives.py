"""Dataset archives: unpacked safely, once, into the cache.

Archives are not trusted: only regular files inside the target folder are written, within limits on their number and
bytes. Links, devices, absolute paths and `..` are errors.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from models.console.progress import Advance, Track, silent
from training.data.layout import entries, is_wrapper
from training.data.unpacking.budget import UnpackBudget
from training.data.unpacking.damaged import mark_damaged, why_damaged
from training.data.unpacking.member import DamagedMember, Member
from training.data.unpacking.tar import is_tar, tar_members
from training.data.unpacking.zip import zip_members
from training.errors import DatasetError
from training.runtime.folders import CACHE_FOLDER
from training.runtime.unpack_limits import read_unpack_limits


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
        try:
            unpack(archive, staging)
            staging.rename(folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return folder


def _skip_wrappers(folder: Path, split: str) -> Path:
    content = entries(folder)
    if len(content) != 1 or not content[0].is_dir() or content[0].name == split:
        return folder
    return _skip_wrappers(content[0], split) if not split or is_wrapper(content[0]) else folder


def unpack(archive: Path, folder: Path, track: Track = silent) -> None:
    """Unpack a .zip or .tar archive (.tar.gz, .tar.bz2, .tar.xz) into a folder, which is created.

    A damaged file of a zip is replaced by a mark (`training.data.unpacking.damaged`); the others are unpacked.

    Raises:
        DatasetError: the archive is damaged or of another format, has a member that is not a plain file inside the
            folder, or exceeds the limits (`training.runtime.unpack_limits`).
        SettingError: a limit is not a number.
    """
    budget = UnpackBudget(archive, read_unpack_limits())
    try:
        with archive.open("rb") as file, track(f"Unpacking {archive.name}", None, "files") as advance:
            members = tar_members(archive, file, budget) if is_tar(file) else zip_members(file, budget)
            _write_all(members, folder, archive, budget, advance)
    except DatasetError:
        raise
    except Exception as error:  # a damaged archive raises EOFError, zlib.error, struct.error and more
        reason = str(error) or type(error).__name__
        raise DatasetError(
            f"{archive} cannot be unpacked ({reason}). It has to be a complete .zip or .tar archive."
        ) from error


def _write_all(members: Iterator[Member], folder: Path, archive: Path, budget: UnpackBudget, advance: Advance) -> None:
    written, damaged = 0, ""
    for member in members:
        target = folder / _safe_path(member.name, archive)
        _make_folder(target.parent, budget)
        try:
            written += _write(member, target)
        except DamagedMember as error:
            mark_damaged(target, str(error))
            damaged = damaged or f"{member.name!r} {error}"
        advance(1)
    if damaged and not written:
        raise DatasetError(f"No file in {archive} can be unpacked: {damaged}. Pack it again, without a password.")


def _make_folder(folder: Path, budget: UnpackBudget) -> None:
    """Create a folder and its parents, which count as files."""
    missing = next((depth for depth, path in enumerate((folder, *folder.parents)) if path.exists()), 0)
    budget.take_files(missing)
    folder.mkdir(parents=True, exist_ok=True)


def _write(member: Member, target: Path) -> bool:
    """Write a file; return False for the second of two files of one name of which the first is damaged."""
    if why_damaged(target):
        return False
    with target.open("wb") as file:
        for chunk in member.content:
            file.write(chunk)
    return True


def _safe_path(name: str, archive: Path) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise DatasetError(
            f"{archive} contains a path outside its folder ({name!r}). Get the archive from a source that you trust."
        )
    return path
