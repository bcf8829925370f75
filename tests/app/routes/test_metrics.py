"""`GET /metrics`."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from tests.support.asgi import Serve, running
from tests.support.encoded_images import encoded

pytestmark = pytest.mark.anyio

IMAGE = encoded()


def parse_samples(text: str) -> dict[str, float]:
    """Return the value of each sample by its name and labels; raises ValueError for an invalid exposition."""
    return {
        f"{sample.name}{sorted(sample.labels.values())}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_requests_are_counted_and_timed(own_client: httpx.AsyncClient) -> None:
    for _ in range(3):
        await own_client.post("/v1/classify", content=IMAGE)
    await own_client.post("/v1/classify", content=b"text")
    await own_client.get("/v1/models/colours")
    await own_client.get("/nowhere/in/particular")
    samples = parse_samples((await own_client.get("/metrics")).text)
    assert samples["classifier_requests_total['/v1/classify', '200', 'POST']"] == 3
    assert samples["classifier_requests_total['/v1/classify', '415', 'POST']"] == 1
    assert samples["classifier_requests_total['/v1/models/{name}', '200', 'GET']"] == 1
    assert samples["classifier_requests_total['404', 'GET', 'unmatched']"] == 1
    assert samples["classifier_request_duration_seconds_count['/v1/classify', 'POST']"] == 4
    assert samples["classifier_decode_duration_seconds_count[]"] == 3
    assert samples["classifier_queue_duration_seconds_count['near_net']"] == 3
    assert samples["classifier_inference_duration_seconds_count['near_net']"] == 3
    assert samples["classifier_batch_size_sum['near_net']"] == 3
    assert samples["classifier_queue_depth['near_net']"] == 0
    assert samples["classifier_model_info['1', 'fixture:float32', 'near_net', 'tones']"] == 1
    assert samples["process_resident_memory_bytes[]"] > 0


async def test_probes_are_not_counted_as_rejected_requests(make_app: Callable[..., FastAPI]) -> None:
    app = make_app()
    async with running(app) as client:
        app.state.app_state.lifecycle.drain()
        assert (await client.get("/readyz")).status_code == 503
        assert (await client.get("/v1/models")).status_code == 503
        samples = parse_samples((await client.get("/metrics")).text)
    assert samples["classifier_requests_rejected_total['draining']"] == 1


async def test_metrics_can_be_turned_off(serve: Serve) -> None:
    async with serve(metrics_public=False) as client:
        assert (await client.get("/metrics")).status_code == 404


async def test_two_apps_do_not_share_metrics(serve: Serve) -> None:
    async with serve() as first, serve() as second:
        await first.post("/v1/classify", content=IMAGE)
        assert "classifier_decode_duration_seconds_count 0.0" in (await second.get("/metrics")).text
