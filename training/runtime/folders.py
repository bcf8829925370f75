"""Default folders for datasets and for the training cache."""

from __future__ import annotations

from pathlib import Path

PROJECT = Path(__file__).parents[2]
DATA_FOLDER = PROJECT / "data"
CACHE_FOLDER = PROJECT / "cache"
