from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from models import networks
from models.artifacts.store import Store
from tests.support.random_weights import TOPS


@pytest.fixture
def own_store(network_store: Store, tmp_path: Path) -> Store:
    """Return a copy of the network store, for tests that change it."""
    shutil.copytree(network_store.root, tmp_path / "store")
    return Store(tmp_path / "store")


@pytest.fixture(scope="session")
def inception() -> Any:
    """Return InceptionV3 at its smallest size, which takes seconds to build; each test sets its own weights."""
    networks.build("small_cnn", 32, {})  # so that Keras does not number the layers from 0
    return networks.build("inception_v3", 75, TOPS)
