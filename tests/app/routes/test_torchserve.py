"""The addresses of TorchServe clients, `/predictions`."""

from __future__ import annotations

import httpx
import pytest

from tests.support.encoded_images import encoded

pytestmark = pytest.mark.anyio

IMAGE = encoded("yellow")


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("path", ["/predictions/colours", "/predictions/colours/1", "/predictions/tones/1"])
async def test_response_has_five_labels_by_probability(client: httpx.AsyncClient, method: str, path: str) -> None:
    response = await client.request(method, path, content=IMAGE)
    assert response.status_code == 200
    scores = response.json()
    assert len(scores) == 5
    assert next(iter(scores)) == "yellow"
    assert list(scores.values()) == sorted(scores.values(), reverse=True)


async def test_probabilities_equal_those_of_v1_classify(client: httpx.AsyncClient) -> None:
    native = (await client.post("/v1/classify", content=IMAGE, params={"model": "colours@1"})).json()["predictions"]
    scores = (await client.put("/predictions/colours/1", content=IMAGE)).json()
    assert scores == {prediction["label"]: pytest.approx(prediction["score"], abs=1e-6) for prediction in native}


async def test_form_field_of_torchserve_clients_is_read(client: httpx.AsyncClient) -> None:
    response = await client.post("/predictions/colours", files={"data": ("photo.png", IMAGE)})
    assert next(iter(response.json())) == "yellow"


@pytest.mark.parametrize(
    ("path", "status", "detail"),
    [
        ("/predictions/none", 404, "colours@2"),
        ("/predictions/colours/9", 404, "colours@2"),
        ("/predictions/colours/x", 422, "version"),
        ("/predictions/colours/0", 422, "version"),
    ],
)
async def test_unknown_model_or_version_is_an_error(
    client: httpx.AsyncClient, path: str, status: int, detail: str
) -> None:
    response = await client.put(path, content=IMAGE)
    assert response.status_code == status
    assert detail in response.json()["detail"]


async def test_invalid_image_is_an_error(client: httpx.AsyncClient) -> None:
    assert (await client.put("/predictions/colours", content=IMAGE[:60])).status_code == 422
    assert (await client.put("/predictions/colours", content=b"")).status_code == 400
