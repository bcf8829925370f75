"""Folders that tests read: the checkout and, where it exists, the development data beside it."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The checkout."""
SHARED_DATA = ROOT.parent / "shared" / "data"
"""Development data; absent on a user's machine, where the tests that need it are skipped."""
