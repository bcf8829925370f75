"""Files that were damaged in their archive: links that lead nowhere stand for them in the unpacked folder.

No program can read such a link as an image, it stays in the cache, and its target says why it is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from models.file_names import has_metadata

_TARGET = "/dev/null/"  # no path leads through a device


def mark_damaged(path: Path, reason: str) -> None:
    """Put a mark in place of a file that cannot be unpacked."""
    path.unlink(missing_ok=True)
    path.symlink_to(_TARGET + reason)


def why_damaged(path: Path) -> str:
    """Return why a file could not be unpacked; empty if the path is not such a mark."""
    target = str(path.readlink()) if path.is_symlink() else ""
    return target.removeprefix(_TARGET) if target.startswith(_TARGET) else ""


def find_damaged(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield the path of each mark in a folder and why it is there, without metadata of file managers."""
    for path in sorted(folder.rglob("*")):
        reason = why_damaged(path)
        if reason and not has_metadata(path.relative_to(folder)):
            yield path, reason
