"""The Open Inference Protocol: requests and responses as they are sent."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import httpx
import numpy as np
import pytest

from tests.support.asgi import Serve, metric_value, wait_for_queued
from tests.support.colour_engine import ColourEngine
from tests.support.colour_images import COLOURS
from tests.support.encoded_images import decoded_pixels, encoded

pytestmark = pytest.mark.anyio

INFER = "/v2/models/colours/infer"
BATCHES = 'classifier_batch_size_count{extractor="near_net"}'
RED, BLUE = encoded("red"), encoded("blue")
LABELS = tuple(COLOURS)


def image_input(*images: bytes, **fields: Any) -> dict[str, Any]:
    """Return encoded images as a tensor in JSON."""
    data = [base64.b64encode(image).decode() for image in images]
    return {"name": "image", "datatype": "BYTES", "shape": [len(images)], "data": data, **fields}


async def infer(client: httpx.AsyncClient, *inputs: dict[str, Any], path: str = INFER, **fields: Any) -> httpx.Response:
    return await client.post(path, json={"inputs": list(inputs), **fields})


async def native_scores(client: httpx.AsyncClient, image: bytes, model: str = "colours") -> list[float]:
    """Return the score of each class from `/v1/classify`."""
    response = await client.post("/v1/classify", content=image, params={"model": model, "top_k": 99})
    by_index = {prediction["index"]: prediction["score"] for prediction in response.json()["predictions"]}
    return [by_index[index] for index in range(len(by_index))]


async def test_metadata_of_server_and_models(client: httpx.AsyncClient) -> None:
    server = (await client.get("/v2")).json()
    assert set(server) == {"name", "version", "extensions"}
    model = (await client.get("/v2/models/colours")).json()
    assert (model["name"], model["versions"]) == ("colours", ["2", "1"])
    assert model["inputs"] == [
        {"name": "image", "datatype": "BYTES", "shape": [-1]},
        {"name": "pixels", "datatype": "UINT8", "shape": [-1, -1, -1, 3]},
    ]
    assert model["outputs"] == [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 6]}]
    assert (await client.get("/v2/models/colours/versions/1")).json() == model


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2/health/live", 200),
        ("/v2/health/ready", 200),
        ("/v2/models/tones/ready", 200),
        ("/v2/models/tones/versions/1/ready", 200),
        ("/v2/models/tones/versions/2/ready", 404),
        ("/v2/models/none/ready", 404),
        ("/v2/models/none", 404),
        ("/v2/models/tones/versions/x", 422),
        ("/v2/nothing", 404),
    ],
)
async def test_readiness_and_errors_follow_the_protocol(client: httpx.AsyncClient, path: str, status: int) -> None:
    response = await client.get(path)
    assert response.status_code == status
    if status != 200:
        assert set(response.json()) == {"error"}
        assert response.headers["Content-Type"] == "application/json"


async def test_encoded_images_in_json(client: httpx.AsyncClient) -> None:
    result = (await infer(client, image_input(RED, BLUE), id="42")).json()
    assert (result["model_name"], result["model_version"], result["id"]) == ("colours", "2", "42")
    (output,) = result["outputs"]
    assert (output["name"], output["datatype"], output["shape"]) == ("probabilities", "FP32", [2, 6])
    expected = [*await native_scores(client, RED), *await native_scores(client, BLUE)]
    np.testing.assert_allclose(output["data"], expected, atol=1e-5)


async def test_pixels_in_json_may_be_nested_or_flat(client: httpx.AsyncClient) -> None:
    pixels = np.stack([decoded_pixels(RED), decoded_pixels(BLUE)])
    expected = [*await native_scores(client, RED), *await native_scores(client, BLUE)]
    for data in (pixels.tolist(), pixels.ravel().tolist()):
        tensor = {"name": "pixels", "datatype": "UINT8", "shape": list(pixels.shape), "data": data}
        result = (await infer(client, tensor)).json()
        np.testing.assert_allclose(result["outputs"][0]["data"], expected, atol=1e-5)


async def test_version_can_be_selected(client: httpx.AsyncClient) -> None:
    result = (await infer(client, image_input(RED), path="/v2/models/colours/versions/1/infer")).json()
    assert result["model_version"] == "1"
    np.testing.assert_allclose(result["outputs"][0]["data"], await native_scores(client, RED, "colours@1"), atol=1e-5)


async def test_labels_can_be_requested(client: httpx.AsyncClient) -> None:
    requested = [{"name": "probabilities", "parameters": {"classification": 2}}]
    (output,) = (await infer(client, image_input(RED, BLUE), outputs=requested)).json()["outputs"]
    assert (output["datatype"], output["shape"]) == ("BYTES", [2, 2])
    for text, label in ((output["data"][0], "red"), (output["data"][2], "blue")):
        score, index, name = text.split(":")
        assert (name, LABELS[int(index)]) == (label, label)
        assert 0.5 < float(score) <= 1


def binary_request(*images: bytes, binary_output: bool = True) -> tuple[bytes, dict[str, str]]:
    """Return the body and the headers of a request with encoded images as bytes after the JSON."""
    raw = b"".join(len(image).to_bytes(4, "little") + image for image in images)
    tensor = {
        "name": "image",
        "datatype": "BYTES",
        "shape": [len(images)],
        "parameters": {"binary_data_size": len(raw)},
    }
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": binary_output}}).encode()
    return head + raw, {"Inference-Header-Content-Length": str(len(head))}


async def test_binary_input_and_output(client: httpx.AsyncClient) -> None:
    body, headers = binary_request(RED, BLUE)
    response = await client.post(INFER, content=body, headers=headers)
    length = int(response.headers["Inference-Header-Content-Length"])
    result = json.loads(response.content[:length])
    (output,) = result["outputs"]
    assert output["parameters"]["binary_data_size"] == len(response.content) - length == 2 * 6 * 4
    assert "data" not in output
    probabilities = np.frombuffer(response.content[length:], "<f4").reshape(2, 6)
    np.testing.assert_allclose(probabilities[0], await native_scores(client, RED), atol=1e-5)
    np.testing.assert_allclose(probabilities[1], await native_scores(client, BLUE), atol=1e-5)


async def test_nested_lists_of_encoded_images(client: httpx.AsyncClient) -> None:
    tensor = image_input(RED, BLUE, shape=[2, 1])
    tensor["data"] = [[text] for text in tensor["data"]]
    assert (await infer(client, tensor)).json()["outputs"][0]["shape"] == [2, 6]


async def test_errors_of_the_root_address_follow_the_protocol(client: httpx.AsyncClient) -> None:
    response = await client.post("/v2")
    assert (response.status_code, set(response.json())) == (405, {"error"})


async def test_binary_input_and_json_output(client: httpx.AsyncClient) -> None:
    body, headers = binary_request(RED, binary_output=False)
    response = await client.post(INFER, content=body, headers=headers)
    assert "Inference-Header-Content-Length" not in response.headers
    np.testing.assert_allclose(response.json()["outputs"][0]["data"], await native_scores(client, RED), atol=1e-5)


async def test_images_of_one_request_share_batches(own_client: httpx.AsyncClient, engine: ColourEngine) -> None:
    pixels = np.stack([decoded_pixels(RED)] * 8)
    tensor = {"name": "pixels", "datatype": "UINT8", "shape": list(pixels.shape), "data": pixels.tolist()}
    engine.unblocked.clear()
    request = asyncio.create_task(infer(own_client, tensor))
    await asyncio.to_thread(engine.batch_started.acquire)
    await wait_for_queued(own_client, 8 - engine.batch_sizes[0])
    engine.unblocked.set()
    assert (await request).status_code == 200
    assert len(engine.batch_sizes) == (2 if engine.batch_sizes[0] < 8 else 1)
    assert sum(engine.batch_sizes) == 8


_IMAGE = {"name": "image", "datatype": "BYTES", "shape": [1]}
_PIXELS = {"name": "pixels", "datatype": "UINT8", "shape": [1, 2, 2, 3]}


@pytest.mark.parametrize(
    ("tensor", "status", "detail"),
    [
        ({"name": "image", "datatype": "BYTES", "shape": [1], "data": ["not base64!"]}, 400, "base64"),
        ({"name": "image", "datatype": "BYTES", "shape": [2], "data": ["aaaa"]}, 400, "does not match the shape"),
        ({"name": "image", "datatype": "BYTES", "shape": [1], "data": ["aaaa"]}, 415, "not an image"),
        ({"name": "image", "datatype": "BYTES", "shape": [1], "data": [7]}, 400, "does not match the shape"),
        ({"name": "image", "datatype": "BYTES", "shape": [1]}, 400, "does not match the shape"),
        ({"name": "image", "datatype": "BYTES", "shape": [0], "data": []}, 422, "contains no image"),
        ({"name": "image", "datatype": "BYTES", "shape": [-1], "data": []}, 422, "contains no image"),
        ({"name": "image", "datatype": "BYTES", "shape": [99], "data": []}, 413, "at most 64"),
        ({"name": "image", "datatype": "FP32", "shape": [1], "data": [1.0]}, 422, "BYTES"),
        ({"name": "other", "datatype": "BYTES", "shape": [1], "data": [""]}, 422, "`image`"),
        ({**_PIXELS, "data": [1] * 11}, 400, "does not match the shape"),
        ({**_PIXELS, "data": [[1, 2], [3]]}, 400, "does not match the shape"),
        ({**_PIXELS, "data": [256] * 12}, 422, "0 to 255"),
        ({**_PIXELS, "data": [0.5] * 12}, 422, "0 to 255"),
        ({**_PIXELS, "data": ["a"] * 12}, 422, "0 to 255"),
        ({**_PIXELS, "shape": [2, 2, 3], "data": [1] * 12}, 422, "[n, height, width, 3]"),
        ({**_PIXELS, "shape": [1, 100000, 100000, 3], "data": []}, 413, "pixels"),
        ({**_IMAGE, "parameters": {"binary_data_size": 5}}, 400, "match the body"),
        ({"name": "image"}, 422, "shape"),
        ({**_PIXELS, "data": ["a" * 20_000] + [""] * 20_000}, 400, "does not match the shape"),
        ({**_PIXELS, "data": [[[[[[[[1]]]]]]]] * 12}, 400, "does not match the shape"),
        ({**_PIXELS, "data": [[]] * 100_000}, 400, "does not match the shape"),
        ({**_PIXELS, "data": [True] * 12}, 422, "0 to 255"),
        ({**_PIXELS, "data": None}, 400, "does not match the shape"),
        ({**_PIXELS, "shape": [1, 10**4000, 10**4000, 3], "data": []}, 422, "shape"),
        ({**_IMAGE, "parameters": {"binary_data_size": True}}, 400, "match the body"),
        ({**_IMAGE, "name": "x" * 300}, 422, "256 characters"),
    ],
)
async def test_invalid_tensor_is_an_error(
    client: httpx.AsyncClient, tensor: dict[str, Any], status: int, detail: str
) -> None:
    response = await infer(client, tensor)
    assert set(response.json()) == {"error"}
    assert response.status_code == status
    assert detail in response.json()["error"]


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"", {}, 400),
        (b"{", {}, 400),
        (b"[]", {}, 422),
        (b"[" * 100_000, {}, 400),
        (b'{"inputs": []}', {}, 422),
        (b"{}", {"Inference-Header-Content-Length": "3"}, 400),
        (b"{}", {"Inference-Header-Content-Length": "-1"}, 400),
        (b"{}", {"Inference-Header-Content-Length": "x"}, 400),
        (binary_request(RED)[0] + b"more", binary_request(RED)[1], 400),
        (binary_request(RED)[0][:-1], binary_request(RED)[1], 400),
        (b"{}", {"Inference-Header-Content-Length": "9" * 5000}, 400),
        (json.dumps({"inputs": [0] * 100_000}).encode(), {}, 422),
        (json.dumps({"inputs": [image_input(RED)], "outputs": [{"name": "probabilities"}] * 2}).encode(), {}, 422),
        (json.dumps({"inputs": [image_input(RED)], "id": "x" * 300}).encode(), {}, 422),
        (b'{"inputs": [' + b"0," * 2_000_000 + b"0]}", {}, 413),
    ],
)
async def test_invalid_body_is_an_error(
    client: httpx.AsyncClient, body: bytes, headers: dict[str, str], status: int
) -> None:
    response = await client.post(INFER, content=body, headers=headers)
    assert response.status_code == status
    assert set(response.json()) == {"error"}


@pytest.mark.parametrize("output", [{"name": "other"}, {"name": "probabilities", "parameters": {"classification": -1}}])
async def test_unknown_output_is_an_error_before_any_inference(
    own_client: httpx.AsyncClient, output: dict[str, Any]
) -> None:
    response = await infer(own_client, image_input(RED), outputs=[output])
    assert response.status_code == 422
    assert await metric_value(own_client, BATCHES) == 0, "a batch was run for nothing"
    assert "outputs" in response.json()["error"]


async def test_more_images_than_the_queue_holds_are_413(serve: Serve) -> None:
    async with serve(queue_size=1, max_images=4) as client:
        response = await infer(client, image_input(RED, BLUE))
        assert response.status_code == 413
        assert "at most 1 " in response.json()["error"]


@pytest.mark.parametrize(
    "text",
    [
        base64.b64encode(RED).decode(),
        base64.encodebytes(RED).decode(),
        base64.encodebytes(RED).decode().replace("\n", "\r\n"),
        "data:image/png;base64," + base64.b64encode(RED).decode(),
    ],
    ids=["plain", "lines", "CRLF lines", "data URI"],
)
async def test_base64_is_read_as_by_classify(client: httpx.AsyncClient, text: str) -> None:
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [text]}
    assert (await client.post("/v1/classify", json={"image": text})).status_code == 200
    assert (await infer(client, tensor)).status_code == 200


@pytest.mark.parametrize("place", ["input", "output"])
async def test_shared_memory_is_rejected_by_name(client: httpx.AsyncClient, place: str) -> None:
    parameters = {"shared_memory_region": "r", "shared_memory_byte_size": 1000}
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "parameters": parameters}
    request: dict[str, Any] = (
        {"inputs": [tensor]}
        if place == "input"
        else {"inputs": [image_input(RED)], "outputs": [{"name": "probabilities", "parameters": parameters}]}
    )
    response = await client.post(INFER, json=request)
    assert response.status_code == 422
    assert "shared memory is not supported" in response.json()["error"]
