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

from tests.support.colour_images import COLOURS
from tests.support.encoded_images import decoded_pixels, encoded

LABELS = tuple(COLOURS)
IMAGES = {colour: encoded(colour) for colour in ("red", "green", "blue")}


@pytest.fixture(scope="module")
def address(tiny_address: str) -> str:
    return tiny_address.removeprefix("http://")


@pytest.fixture
def client(address: str) -> Iterator[Any]:
    client = tritonclient.http.InferenceServerClient(address)
    yield client
    client.close()


def input_tensor(kind: str, colours: list[str], *, binary: bool) -> Any:
    """Return images of these colours as a tensor: `pixels`, or encoded as `image`."""
    if kind == "pixels":
        values = np.stack([decoded_pixels(IMAGES[colour]) for colour in colours])
        tensor = tritonclient.http.InferInput("pixels", list(values.shape), "UINT8")
    else:
        images = [IMAGES[colour] for colour in colours]
        values = np.array(images if binary else [base64.b64encode(image) for image in images], dtype=np.object_)
        tensor = tritonclient.http.InferInput("image", [len(colours)], "BYTES")
    tensor.set_data_from_numpy(values, binary_data=binary)
    return tensor


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False])
def test_compressed_requests_and_responses(client: Any, algorithm: str, binary: bool) -> None:
    result = client.infer(
        "colours",
        [input_tensor("image", ["blue"] * 20, binary=binary)],
        request_compression_algorithm=algorithm,
        response_compression_algorithm=algorithm,
    )
    assert result.as_numpy("probabilities").shape == (20, len(LABELS))
    assert likeliest_label(result) == "blue"


def likeliest_label(result: Any) -> str:
    """Return the likeliest label of the first image."""
    return LABELS[int(result.as_numpy("probabilities").argmax())]


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
    result = client.infer("colours", [input_tensor(kind, colours, binary=binary_in)], outputs=[output], request_id="7")
    assert result.get_response()["id"] == "7"
    probabilities = result.as_numpy("probabilities")
    assert probabilities.shape == (len(colours), 6)
    assert [LABELS[index] for index in probabilities.argmax(axis=1)] == colours
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("binary_out", [True, False])
def test_class_labels(client: Any, binary_out: bool) -> None:
    output = tritonclient.http.InferRequestedOutput("probabilities", binary_data=binary_out, class_count=3)
    result = client.infer("colours", [input_tensor("image", ["green", "blue"], binary=True)], outputs=[output])
    classes = result.as_numpy("probabilities")
    assert classes.shape == (2, 3)
    texts = [text.decode() if isinstance(text, bytes) else text for text in classes[:, 0]]
    assert [text.rpartition(":")[2] for text in texts] == ["green", "blue"]


def test_output_is_binary_if_none_is_requested(client: Any) -> None:
    result = client.infer("colours", [input_tensor("pixels", ["red"], binary=True)], model_version="1")
    assert result.get_response()["model_version"] == "1"
    assert likeliest_label(result) == "red"


def test_concurrent_requests_from_its_own_threads(address: str) -> None:
    client = tritonclient.http.InferenceServerClient(address, concurrency=4)
    colours = ["red", "green", "blue"] * 10
    pending = [client.async_infer("colours", [input_tensor("image", [colour], binary=True)]) for colour in colours]
    labels = [likeliest_label(request.get_result()) for request in pending]
    client.close()
    assert labels == colours


def test_asynchronous_client(address: str) -> None:
    async def classify_all() -> list[str]:
        async with tritonclient.http.aio.InferenceServerClient(address) as client:
            results = await asyncio.gather(
                *(client.infer("colours", [input_tensor("pixels", [colour], binary=True)]) for colour in IMAGES)
            )
            return [likeliest_label(result) for result in results]

    assert asyncio.run(classify_all()) == list(IMAGES)


def test_error_is_raised_as_its_own_exception(client: Any) -> None:
    broken = tritonclient.http.InferInput("image", [1], "BYTES")
    broken.set_data_from_numpy(np.array([b"no image"], dtype=np.object_))
    with pytest.raises(InferenceServerException, match="not an image"):
        client.infer("colours", [broken])
