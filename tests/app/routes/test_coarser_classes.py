"""Coarser classes in the responses of a classifier that has them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import coarser_colours
from tests.support.asgi import Serve
from tests.support.batch_requests import image_files, send_batch
from tests.support.coarser_colours import ORANGE
from tests.support.encoded_images import encoded
from tests.support.html import Elements

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shades")
    coarser_colours.build(root)
    return root


@pytest.fixture
async def shades(serve: Serve, store: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with serve(store=store, default_model="shades") as client:
        yield client


async def classify(client: httpx.AsyncClient, image: bytes, **params: Any) -> dict[str, Any]:
    response = await client.post("/v1/classify", params=params, content=image)
    assert response.status_code == 200, response.text
    result: dict[str, Any] = response.json()
    return result


def scores(result: dict[str, Any], key: str) -> dict[str, float]:
    return {each["label"]: each["score"] for each in result[key]}


async def test_uncertain_class_is_answered_by_the_coarser_class_that_is_sure(shades: httpx.AsyncClient) -> None:
    result = await classify(shades, ORANGE)
    assert list(result) == ["model", "version", "request_id", "predictions", "parents", "timing_ms", "batch_size"]
    classes, parents = scores(result, "predictions"), scores(result, "parents")
    assert max(classes.values()) < 0.5 < parents["warm"]
    assert list(parents) == ["warm", "colour"], "from the finest to the coarsest"
    assert parents["warm"] == pytest.approx(classes["red"] + classes["yellow"])
    assert all(set(each) == {"label", "score"} for each in result["parents"])


async def test_sure_class_has_the_coarser_classes_above_it(shades: httpx.AsyncClient) -> None:
    result = await classify(shades, encoded("blue"))
    assert [each["label"] for each in result["parents"]] == ["cold", "colour"]


async def test_class_without_coarser_classes_has_an_empty_list(shades: httpx.AsyncClient) -> None:
    result = await classify(shades, encoded("white"))
    assert (result["predictions"][0]["label"], result["parents"]) == ("white", [])


async def test_classifier_without_coarser_classes_has_no_such_field(shades: httpx.AsyncClient) -> None:
    assert "parents" not in await classify(shades, ORANGE, model="colours")


async def test_number_of_classes_does_not_change_the_coarser_classes(shades: httpx.AsyncClient) -> None:
    everything = await classify(shades, ORANGE, top_k=6)
    assert (await classify(shades, ORANGE, top_k=1))["parents"] == everything["parents"]


async def test_threshold_excludes_classes_and_coarser_classes(shades: httpx.AsyncClient) -> None:
    result = await classify(shades, ORANGE, threshold=0.5)
    assert result["predictions"] == []
    assert list(scores(result, "parents")) == ["warm", "colour"]
    assert (await classify(shades, ORANGE, threshold=1))["parents"] == []


async def test_each_of_several_models_has_its_own(shades: httpx.AsyncClient) -> None:
    with_parents, without = (await classify(shades, ORANGE, model="shades,tones"))["results"]
    assert with_parents["parents"] == (await classify(shades, ORANGE))["parents"]
    assert set(without) == {"model", "version", "predictions"}


async def test_batch_has_them_for_each_image(shades: httpx.AsyncClient) -> None:
    response = await send_batch(shades, image_files(ORANGE, encoded("white"), b"no image"))
    first, second, third = response.json()["items"]
    assert list(scores(first["result"], "parents")) == ["warm", "colour"]
    assert second["result"]["parents"] == []
    assert "result" not in third


async def test_other_protocols_stay_as_they_are(shades: httpx.AsyncClient) -> None:
    torchserve = (await shades.post("/predictions/shades", content=ORANGE)).json()
    assert set(torchserve) <= {"blue", "dark", "green", "red", "white", "yellow"}
    metadata = (await shades.get("/v2/models/shades")).json()
    assert [output["name"] for output in metadata["outputs"]] == ["probabilities"]
    assert metadata["outputs"][0]["shape"] == [-1, 6]


async def test_page_leads_with_the_coarser_class_that_is_sure(shades: httpx.AsyncClient) -> None:
    response = await shades.post("/", files={"file": ("photo", ORANGE)})
    assert re.search(r"<h2[^>]*>Most likely: warm</h2>", response.text)
    labels = [meter["aria-label"] for meter in Elements(response.text).all("meter")]
    assert labels[0] == "warm"
    assert set(labels[1:3]) == {"red", "yellow"}
    assert len(labels) == 6


async def test_page_leads_with_the_class_where_it_is_sure(shades: httpx.AsyncClient) -> None:
    response = await shades.post("/", files={"file": ("photo", encoded("blue"))})
    assert "Most likely: blue" in response.text
    meters = Elements(response.text).all("meter")
    assert (meters[0]["aria-label"], len(meters)) == ("blue", 5)
