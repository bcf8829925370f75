"""`GET /v1/models`."""

from __future__ import annotations

import httpx
import pytest

pytestmark = pytest.mark.anyio


async def test_models_are_listed_by_name_and_version(client: httpx.AsyncClient) -> None:
    models = (await client.get("/v1/models")).json()["models"]
    assert [(model["name"], model["version"], model["default"]) for model in models] == [
        ("colours", 2, True),
        ("colours", 1, False),
        ("far", 1, False),
        ("tones", 1, False),
    ]
    assert set(models[0]) == {"name", "version", "default", "classes", "extractor"}


async def test_model_is_described_with_its_metrics_and_its_card(client: httpx.AsyncClient) -> None:
    model = (await client.get("/v1/models/colours")).json()
    assert (model["version"], model["extractor"]) == (2, "near_net")
    assert model["metrics"]["test"]["accuracy"] == 0.75
    assert model["card"].startswith("# colours")
    assert (await client.get("/v1/models/colours?version=1")).json()["version"] == 1
