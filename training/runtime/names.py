"""Names of files and classes as text: one form for comparison, and one for a line of output."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path, PurePath

from models.console.encoding import path_text


def normalized(name: str) -> str:
    """Return a name in Unicode's form NFC. macOS writes file names in NFD, in which `ä` is two characters."""
    return unicodedata.normalize("NFC", name)


def printable(name: PurePath | str) -> str:
    r"""Return a name in one line: control characters are escaped, and bytes that are not UTF-8 (`\xe9`)."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in path_text(name))


def printable_path(path: Path, root: Path) -> str:
    """Return a path relative to a folder in one line, with slashes."""
    return printable(PurePath(os.path.relpath(path, root)).as_posix())
