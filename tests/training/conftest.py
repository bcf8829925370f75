"""What is costly to make and shared by several tests; none of them changes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import colour_dataset
from tests.support.training_workspace import FirstRun, Workspace


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small dataset of four classes."""
    return colour_dataset.write(tmp_path_factory.mktemp("data") / "colours")


@pytest.fixture(scope="session")
def first(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> FirstRun:
    """The folder of a workspace in which the command has run once, and the finished process."""
    folder = tmp_path_factory.mktemp("first")
    return folder, Workspace(folder, colours).run_process("training")


@pytest.fixture
def workspace(tmp_path: Path, colours: Path, first: FirstRun) -> Workspace:
    """A workspace that contains only the extractor."""
    return Workspace(tmp_path, colours, first[0])
