"""Fixtures of a training run that several tests share without changing them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import colour_dataset
from tests.support.training_workspace import FirstRun, Workspace


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a small dataset of four classes."""
    return colour_dataset.write(tmp_path_factory.mktemp("data") / "colours")


@pytest.fixture(scope="session")
def first(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> FirstRun:
    """Return the folder of a workspace in which the command has run once, and the finished process."""
    folder = tmp_path_factory.mktemp("first")
    return folder, Workspace(folder, colours).run_process("training")


@pytest.fixture
def workspace(tmp_path: Path, colours: Path, first: FirstRun) -> Workspace:
    """Return a workspace that contains only the extractor."""
    return Workspace(tmp_path, colours, first[0])
