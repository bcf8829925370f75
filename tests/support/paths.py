"""Folders that tests read: the checkout, and the optional development data next to it."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The checkout."""
SHARED_DATA = ROOT.parent / "shared" / "data"
"""Development data; tests that need it are skipped where it is missing."""
