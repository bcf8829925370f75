"""What is costly to make and shared by several tests; none of them changes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import drawn


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small dataset of four classes."""
    return drawn.colours(tmp_path_factory.mktemp("data") / "colours")
