"""Triton's own HTTP client, unchanged, against a server process."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.http
import tritonclient.http.aio
from tritonclient.utils import InferenceServerException

from tests.app.routes.test_v2 import LABELS, pixels_of
from tests.support.encoded_images import encoded

PICTURES = {colour: encoded(colour) for colour in ("red", "green", "blue")}


@pytest.fixture(scope="module")
def address(tiny_address: str) -> str:
    return tiny_address.removeprefix("http://")


@pytest.fixture
def client(address: str) -> Iterator[Any]:
    client = tritonclient.http.InferenceServerClient(address)
    yield client
    client.close()


def tensor(kind: str, colours: list[str], *, binary: bool) -> Any:
    if kind == "pixels":
        values = np.stack([pixels_of(PICTURES[colour]) for colour in colours])
        made = tritonclient.http.InferInput("pixels", list(values.shape), "UINT8")
    else:
        pictures = [PICTURES[colour] for colour in colours]
        values = np.array(pictures if binary else [base64.b64encode(picture) for picture in pictures], dtype=np.object_)
        made = tritonclient.http.InferInput("image", [len(colours)], "BYTES")
    made.set_data_from_numpy(values, binary_data=binary)
    return made


def test_metadata_and_readiness(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("colours")
    assert client.is_model_ready("colours", "1")
    assert not client.is_model_ready("none")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    assert client.get_model_metadata("colours")["outputs"][0]["shape"] == [-1, 6]
    with pytest.raises(InferenceServerException, match="There is no model none"):
        client.get_model_metadata("none")


@pytest.mark.parametrize("binary_out", [True, False])
@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("kind", ["image", "pixels"])
@pytest.mark.parametrize("colours", [["red"], ["blue", "red", "green"]])
def test_probabilities(client: Any, colours: list[str], kind: str, binary_in: bool, binary_out: bool) -> None:
    output = tritonclient.http.InferRequestedOutput("probabilities", binary_data=binary_out)
    result = client.infer("colours", [tensor(kind, colours, binary=binary_in)], outputs=[output], request_id="7")
    assert result.get_response()["id"] == "7"
    probabilities = result.as_numpy("probabilities")
    assert probabilities.shape == (len(colours), 6)
    assert [LABELS[index] for index in probabilities.argmax(axis=1)] == colours
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("binary_out", [True, False])
def test_classes(client: Any, binary_out: bool) -> None:
    output = tritonclient.http.InferRequestedOutput("probabilities", binary_data=binary_out, class_count=3)
    result = client.infer("colours", [tensor("image", ["green", "blue"], binary=True)], outputs=[output])
    found = result.as_numpy("probabilities")
    assert found.shape == (2, 3)
    texts = [text.decode() if isinstance(text, bytes) else text for text in found[:, 0]]
    assert [text.rpartition(":")[2] for text in texts] == ["green", "blue"]


def test_without_outputs_all_of_them_come_as_bytes(client: Any) -> None:
    result = client.infer("colours", [tensor("pixels", ["red"], binary=True)], model_version="1")
    assert result.get_response()["model_version"] == "1"
    assert LABELS[int(result.as_numpy("probabilities").argmax())] == "red"


def test_many_at_once_through_its_own_threads(address: str) -> None:
    client = tritonclient.http.InferenceServerClient(address, concurrency=4)
    colours = ["red", "green", "blue"] * 10
    pending = [client.async_infer("colours", [tensor("image", [colour], binary=True)]) for colour in colours]
    found = [LABELS[int(each.get_result().as_numpy("probabilities").argmax())] for each in pending]
    client.close()
    assert found == colours


def test_the_asynchronous_client(address: str) -> None:
    async def ask() -> list[str]:
        async with tritonclient.http.aio.InferenceServerClient(address) as client:
            answers = await asyncio.gather(
                *(client.infer("colours", [tensor("pixels", [colour], binary=True)]) for colour in PICTURES)
            )
            return [LABELS[int(answer.as_numpy("probabilities").argmax())] for answer in answers]

    assert asyncio.run(ask()) == list(PICTURES)


def test_an_error_is_told_in_its_own_form(client: Any) -> None:
    broken = tritonclient.http.InferInput("image", [1], "BYTES")
    broken.set_data_from_numpy(np.array([b"no image"], dtype=np.object_))
    with pytest.raises(InferenceServerException, match="not an image"):
        client.infer("colours", [broken])
