"""Files whose names are not valid UTF-8, as on old disks and in old archives."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def write_file(folder: Path, name: bytes, content: bytes) -> Path:
    """Write a file with this name; skip the test where the file system permits only UTF-8, as on macOS."""
    path = folder / os.fsdecode(name)
    try:
        path.write_bytes(content)
    except OSError:
        pytest.skip("file names must be UTF-8 on this file system")
    return path
