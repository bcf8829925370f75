"""Fixtures for API keys: the keys file and a key in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.auth.keys import Role, add_key


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    return tmp_path / "keys"


@pytest.fixture
def key(keys_file: Path) -> str:
    """Return the key of `laptop`, a user."""
    return add_key(keys_file, "laptop", Role.USER)
