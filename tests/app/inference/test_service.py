"""Batches, deadlines and disconnected clients, through the whole app."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

import httpx
import pytest

from app.batching.batcher import Batcher
from app.batching.scheduler import BatchScheduler
from app.errors import DeadlineUnmeetable
from app.inference import service
from app.inference.service import Service, _start_batcher
from app.settings import Settings
from app.telemetry.metrics import Metrics
from tests.support.asgi import Serve, app_of, block_engine, metric_value, post_image, wait_for_queued
from tests.support.clocks import advance_loop
from tests.support.colour_engine import ColourEngine
from tests.support.encoded_images import encoded
from tests.support.fake_classifiers import fake_extractor

pytestmark = pytest.mark.anyio

IMAGE = encoded()
QUEUE_DEPTH = 'classifier_queue_depth{extractor="near_net"}'


async def test_queued_requests_share_a_batch(serve: Serve, engine: ColourEngine) -> None:
    async with serve(max_batch=8) as client:
        running = await block_engine(engine, client, IMAGE)
        queued = [post_image(client, IMAGE) for _ in range(5)]
        await wait_for_queued(client, 5)
        engine.unblocked.set()
        results = [response.json() for response in await asyncio.gather(running, *queued)]
    assert [result["batch_size"] for result in results] == [1, 5, 5, 5, 5, 5]
    assert all(result["predictions"][0]["label"] == "red" for result in results)


@pytest.mark.parametrize(
    ("shares_cores", "max_run_s", "max_batch", "largest"),
    [(True, 0.25, None, 16), (False, math.inf, None, 32), (True, 0.25, 7, 7), (False, math.inf, 7, 7)],
)
async def test_batches_are_scheduled_as_the_settings_and_the_engine_say(
    monkeypatch: pytest.MonkeyPatch, shares_cores: bool, max_run_s: float, max_batch: int | None, largest: int
) -> None:
    class OddEngine(ColourEngine):
        def preferred_batch_sizes(self, max_batch: int) -> range:
            return range(1, max_batch + 1, 2)

    arguments = list[dict[str, Any]]()

    class NotedScheduler(BatchScheduler[Any]):
        def __init__(self, **given: Any) -> None:
            arguments.append(given)
            super().__init__(**given)

    monkeypatch.setattr("app.batching.batcher.BatchScheduler", NotedScheduler)
    engine = OddEngine(shares_cores=shares_cores, max_concurrent_runs=3)
    settings = Settings(queue_size=50, max_batch_latency_ms=250, max_delay_ms=30, max_batch=max_batch)
    batcher = _start_batcher(fake_extractor(engine=engine), settings, Metrics())
    await asyncio.to_thread(batcher.close)
    assert arguments == [
        {
            "capacity": 50,
            "max_batch": largest,
            "max_run_s": max_run_s,
            "max_delay_s": 0.03,
            "workers": 3,
            "shares_cores": shares_cores,
            "preferred_batch_sizes": range(1, largest + 1, 2),
        }
    ]


async def test_request_that_is_given_up_in_the_queue_is_not_run(
    serve: Serve, engine: ColourEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve() as client:
        running = await block_engine(engine, client, IMAGE)
        late = post_image(client, IMAGE, **{"X-Request-Timeout-Ms": "100000"})
        await wait_for_queued(client, 1)
        with monkeypatch.context() as patched:
            advance_loop(patched, 100)
            response = await asyncio.wait_for(late, 10)
        assert (response.status_code, response.json()["code"]) == (504, "deadline_exceeded")
        engine.unblocked.set()
        assert (await running).status_code == 200
        assert sum(engine.batch_sizes) == 1
        assert await metric_value(client, 'classifier_requests_rejected_total{reason="deadline_exceeded"}') == 1


@pytest.mark.parametrize("path", ["/v1/classify", "/"])
async def test_queued_image_is_not_run_after_its_client_disconnects(
    serve: Serve, engine: ColourEngine, path: str
) -> None:
    async with serve() as client:
        running = await block_engine(engine, client, IMAGE)
        disconnected = asyncio.Event()
        body = iter([{"type": "http.request", "body": IMAGE, "more_body": False}])

        async def receive() -> dict[str, Any]:
            for message in body:
                return message
            await disconnected.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            """Drop the response, which no client receives."""

        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [],
            "http_version": "1.1",
            "scheme": "http",
            "server": ("server", 80),
            "client": ("client", 1),
            "root_path": "",
        }
        request = asyncio.create_task(app_of(client)(scope, receive, send))
        await wait_for_queued(client, 1)
        disconnected.set()
        await asyncio.wait_for(request, 10)
        assert await metric_value(client, QUEUE_DEPTH) == 0
        assert await metric_value(client, "classifier_requests_cancelled_total") == 1
        engine.unblocked.set()
        assert (await running).status_code == 200
        assert (await post_image(client, IMAGE)).status_code == 200
        assert engine.batch_sizes == [1, 1]


async def test_images_that_would_miss_their_deadline_are_rejected_as_a_whole(
    own_client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue may have filled up since the check before the body was read."""
    service: Service = app_of(own_client).state.app_state.manager.service
    (batcher,) = (
        each for extractor, each in service._batchers.items() if extractor is service.models.default.extractor
    )
    monkeypatch.setattr(BatchScheduler, "estimate_wait_s", lambda *_: 100.0)
    with batcher.reserve():
        for left_s, is_met in ((200, True), (50, False)):
            work = service.classify([IMAGE], [service.models.default], time.monotonic() + left_s)
            if is_met:
                assert len(await work) == 1
            else:
                with pytest.raises(DeadlineUnmeetable):
                    await work


async def test_settings_of_the_queue_reach_the_batchers(
    serve: Serve, engines: dict[str, ColourEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    created: list[dict[str, Any]] = []

    def create(*runners: Any, **arguments: Any) -> Batcher[Any, Any]:
        created.append(arguments)
        return Batcher(*runners, **arguments)

    monkeypatch.setattr(service, "Batcher", create)
    for each in engines.values():
        each.shares_cores = True
    async with serve(max_batch=4, queue_size=70, max_delay_ms=80, max_batch_latency_ms=900):
        pass
    names = ("max_batch", "capacity", "max_delay_s", "max_run_s", "shares_cores")
    assert [[each[name] for name in names] for each in created] == [[4, 70, 0.08, 0.9, True]] * 2
