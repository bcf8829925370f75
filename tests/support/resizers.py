"""Resizing with a chosen library, whichever is installed."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from unittest.mock import patch

import pytest

from models.decoding import resample

_INSTALLED = vars(resample)["cykooz_resizer"]

needs_rust = pytest.mark.skipif(_INSTALLED is None, reason="cykooz-resizer has no wheel for this platform")
RUST, PILLOW = "cykooz-resizer", "Pillow"
RESIZERS = [RUST, PILLOW] if _INSTALLED else [PILLOW]


def resize_with(library: str) -> AbstractContextManager[None]:
    """Resize images in this process with this library during a block."""
    return patch.object(resample, "cykooz_resizer", _INSTALLED if library == RUST else None)


def block_rust(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the import of cykooz-resizer fail in processes that are started from now on; writes a module to `folder`."""
    (folder / "cykooz_resizer.py").write_text("raise ImportError('blocked by a test')\n", encoding="ascii")
    monkeypatch.setenv("PYTHONPATH", str(folder))
