"""Fixtures that several packages share, and the distribution of tests over processes."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from xdist.remote import Producer

from models.artifacts.store import Store
from tests.support import colour_store, keras_store
from tests.support.distribution import GroupScheduling, rank
from tests.support.processes import server

settings.register_profile("tests", deadline=None)  # 200 ms for an example, the default, depends on other processes
settings.load_profile("tests")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> GroupScheduling:
    return GroupScheduling(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):  # in a process of pytest-xdist
        items.sort(key=lambda item: rank(item.nodeid))


def pytest_collection_finish() -> None:
    """Exempt everything that was imported from garbage collections: with TensorFlow each takes half a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def tiny_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store of classifiers on extractors that average colours; tests only read it."""
    root = tmp_path_factory.mktemp("store")
    colour_store.build(root)
    return root


@pytest.fixture(scope="session")
def tiny_address(tiny_store: Path) -> Iterator[str]:
    """Return the address of a server process on the tiny store; no test may change its state."""
    with server("tests.support.tiny_server", APP_STORE=str(tiny_store)) as process:
        yield process.address()


@pytest.fixture(scope="session")
def network_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Return a store of a small real network and classifiers fitted on its features; tests only read it."""
    return keras_store.build(tmp_path_factory.mktemp("store"))
