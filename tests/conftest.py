"""What is costly to make and shared by the tests of several packages; none of them changes it."""

from __future__ import annotations

import pytest

from models.artifacts.store import Store
from tests.support import tiny_models as tiny


@pytest.fixture(scope="session")
def network_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A small real network and classifiers that were fitted on its features."""
    return tiny.build(tmp_path_factory.mktemp("store"))
