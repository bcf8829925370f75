from __future__ import annotations

import pytest

from benchmarks.offline.engine import measure
from models.artifacts.store import Store


@pytest.mark.slow
def test_engine_is_compared_with_keras(network_store: Store) -> None:
    assert measure(network_store.root, "colours", 1).figures[-1].median > 0
