"""The address of TorchServe."""

from __future__ import annotations

import httpx
import pytest

from tests.support.encoded_images import encoded

pytestmark = pytest.mark.anyio

PICTURE = encoded("yellow")


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("path", ["/predictions/colours", "/predictions/colours/1", "/predictions/tones/1"])
async def test_five_labels_with_their_probabilities(client: httpx.AsyncClient, method: str, path: str) -> None:
    response = await client.request(method, path, content=PICTURE)
    assert response.status_code == 200
    answer = response.json()
    assert len(answer) == 5
    assert next(iter(answer)) == "yellow"
    assert list(answer.values()) == sorted(answer.values(), reverse=True)


async def test_the_probabilities_are_those_of_the_native_address(client: httpx.AsyncClient) -> None:
    native = (await client.post("/v1/classify", content=PICTURE, params={"model": "colours@1"})).json()["predictions"]
    answer = (await client.put("/predictions/colours/1", content=PICTURE)).json()
    assert answer == {prediction["label"]: pytest.approx(prediction["score"], abs=1e-6) for prediction in native}


async def test_the_field_of_its_clients_is_read(client: httpx.AsyncClient) -> None:
    response = await client.post("/predictions/colours", files={"data": ("photo.png", PICTURE)})
    assert next(iter(response.json())) == "yellow"


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/predictions/none", 404, "colours@2"),
        ("/predictions/colours/9", 404, "colours@2"),
        ("/predictions/colours/x", 422, "version"),
        ("/predictions/colours/0", 422, "version"),
    ],
)
async def test_what_there_is_not_is_said(client: httpx.AsyncClient, path: str, status: int, words: str) -> None:
    response = await client.put(path, content=PICTURE)
    assert response.status_code == status
    assert words in response.json()["detail"]


async def test_an_image_that_cannot_be_read_is_an_error(client: httpx.AsyncClient) -> None:
    assert (await client.put("/predictions/colours", content=PICTURE[:60])).status_code == 422
    assert (await client.put("/predictions/colours", content=b"")).status_code == 400
