"""`GET /v1/status`."""

from __future__ import annotations

import httpx
import pytest

from app.batching.status import BatchingStatus
from app.routes.status import _describe
from models.decoding.resample import resizer_name
from tests.support.encoded_images import encoded
from tests.support.fake_classifiers import fake_extractor

pytestmark = pytest.mark.anyio


async def test_status_shows_versions_queues_and_expected_batch_times(client: httpx.AsyncClient) -> None:
    before = (await client.get("/v1/status")).json()
    assert before["requests_in_flight"] == 1
    assert before["resizer"] == resizer_name()
    assert {"name": "colours", "version": 2} in before["models"]
    near = next(each for each in before["extractors"] if each["name"] == "near_net")
    assert near["waiting"] == 0
    assert near["free"] == near["capacity"] > 0
    assert near["full_batch"] >= 1
    assert near["single_image_ms"] == 0, "no batch has run"
    assert (await client.post("/v1/classify", content=encoded())).status_code == 200
    after = (await client.get("/v1/status")).json()
    assert next(each for each in after["extractors"] if each["name"] == "near_net")["single_image_ms"] > 0


async def test_metrics_show_the_size_of_a_full_batch_and_the_pace(client: httpx.AsyncClient) -> None:
    status = (await client.get("/v1/status")).json()
    text = (await client.get("/metrics")).text
    for extractor in status["extractors"]:
        label = f'{{extractor="{extractor["name"]}"}}'
        assert f"classifier_batch_target_size{label} {float(extractor['full_batch'])}" in text
        assert f"classifier_batch_pace{label} 1.0" in text


def test_each_field_of_the_status_has_its_own_value() -> None:
    batching = BatchingStatus(1, 2, 3, 4, 1.5, 1.25, 0.005, 0.006, 0.007)
    assert _describe(fake_extractor("net"), batching).model_dump() == {
        "name": "net",
        "engine": "fixture:float32",
        "waiting": 1,
        "free": 2,
        "capacity": 3,
        "full_batch": 4,
        "pace": 1.5,
        "concurrency": 1.25,
        "single_image_ms": 5.0,
        "full_batch_ms": 6.0,
        "deadline_margin_ms": 7.0,
    }
