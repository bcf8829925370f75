"""The server in this process: what it does at each tick, and the options that it gives to uvicorn."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any, cast

import httpx
import pytest

from app.server.http_protocol import BoundedHttpProtocol
from app.server.server import Server, _config, _tune_garbage_collection
from app.settings import Settings
from app.state import AppState
from tests.support.asgi import app_of

pytestmark = pytest.mark.anyio


async def test_progress_of_connections_is_checked_once_a_second(
    own_client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = app_of(own_client)
    state: AppState = app.state.app_state
    server = Server(_config(app, state.settings), state)
    server.config.load()
    checked = list[int]()
    for tick in range(1, 41):
        monkeypatch.setattr(server, "_check_connections", lambda tick=tick: checked.append(tick))
        assert not await server.on_tick(tick)
    assert checked == [10, 20, 30, 40]


def test_options_of_uvicorn_are_the_chosen_ones() -> None:
    config = _config(cast(Any, None), Settings(root_path="/vision", read_timeout_s=7))
    assert config.root_path == "/vision"
    assert (config.timeout_keep_alive, config.timeout_graceful_shutdown) == (75, 1)
    assert (config.server_header, config.date_header, config.access_log) == (False, True, False)
    assert (config.proxy_headers, config.lifespan, config.ws, config.loop) == (False, "on", "none", "uvloop")
    assert isinstance(config.http, type)
    assert issubclass(config.http, BoundedHttpProtocol)
    assert config.http.read_timeout_s == 7


def test_forwarded_headers_are_read_from_trusted_proxies_only() -> None:
    config = _config(cast(Any, None), Settings(trusted_proxies="10.0.0.1"))
    assert (config.proxy_headers, config.forwarded_allow_ips) == (True, "10.0.0.1")


@pytest.fixture
def _restored_gc() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


@pytest.mark.usefixtures("_restored_gc")
def test_objects_of_the_start_are_exempt_from_later_garbage_collections() -> None:
    gc.unfreeze()
    _tune_garbage_collection()
    assert gc.get_freeze_count() > 10_000
    assert gc.get_threshold()[0] == 10_000
