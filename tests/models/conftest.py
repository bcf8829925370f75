from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from models import networks
from models.artifacts.store import Store


@pytest.fixture(scope="session")
def tiny_store(network_store: Store) -> Store:
    """Shared by all tests, which only read it."""
    return network_store


@pytest.fixture
def own_store(tiny_store: Store, tmp_path: Path) -> Store:
    """A copy of the tiny store, for tests that damage it."""
    shutil.copytree(tiny_store.root, tmp_path / "store")
    return Store(tmp_path / "store")


@pytest.fixture(scope="session")
def inception() -> Any:
    """InceptionV3 at its smallest size; building it takes seconds. Tests change its weights, each sets its own."""
    networks.build("small_cnn", 32, {})  # so that Keras's numbers of layers do not begin at 0
    return networks.build("inception_v3", 75, {"tiny": 5, "cifar": 3})
