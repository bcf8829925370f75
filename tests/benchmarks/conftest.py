"""Fixtures of all benchmarks: a small workload, and a slow server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.harness.images import generate_jpegs
from benchmarks.harness.workload import Workload
from benchmarks.options import ImageSize, InputSize
from tests.support.slow_server import slow_server


@pytest.fixture(scope="session")
def tiny_workload(tiny_store: Path) -> Workload:
    """Return a workload of small images for a server process on the tiny store."""
    images = generate_jpegs(6, 48)
    module = "tests.support.tiny_server"
    return Workload(InputSize.SHIPPED, ImageSize.WEB, tiny_store, "colours", images, module)


@pytest.fixture
def slow_url() -> Iterator[str]:
    """Return the address of a server that answers one request after another."""
    with slow_server() as address:
        yield address
