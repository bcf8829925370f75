"""The last phase of a server: draining."""

from __future__ import annotations

import pytest

from app.state import AppState
from tests.support.asgi import Serve, app_of, block_engine, post_image
from tests.support.colour_engine import ColourEngine
from tests.support.encoded_images import encoded

pytestmark = pytest.mark.anyio

IMAGE = encoded()


async def test_draining_rejects_new_requests_and_finishes_accepted_ones(serve: Serve, engine: ColourEngine) -> None:
    async with serve() as client:
        accepted = await block_engine(engine, client, IMAGE)
        state: AppState = app_of(client).state.app_state
        state.lifecycle.drain()
        rejected = await post_image(client, IMAGE)
        assert (rejected.status_code, rejected.json()["code"]) == (503, "draining")
        assert "Retry-After" in rejected.headers
        assert rejected.headers["Connection"] == "close"
        assert (await client.get("/livez")).status_code == 200
        assert (await client.get("/readyz")).status_code == 503
        assert (await client.get("/")).status_code == 503
        assert state.lifecycle.requests_in_flight == 1
        engine.unblocked.set()
        assert (await accepted).status_code == 200
        assert state.lifecycle.requests_in_flight == 0
