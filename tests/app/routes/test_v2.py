"""The Open Inference Protocol, as it lies on the wire."""

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
RED, BLUE = encoded("red"), encoded("blue")
LABELS = tuple(COLOURS)


def image_input(*pictures: bytes, **more: Any) -> dict[str, Any]:
    data = [base64.b64encode(picture).decode() for picture in pictures]
    return {"name": "image", "datatype": "BYTES", "shape": [len(pictures)], "data": data, **more}


async def infer(client: httpx.AsyncClient, *inputs: dict[str, Any], path: str = INFER, **more: Any) -> httpx.Response:
    return await client.post(path, json={"inputs": list(inputs), **more})


async def native(client: httpx.AsyncClient, picture: bytes, model: str = "colours") -> list[float]:
    answer = await client.post("/v1/classify", content=picture, params={"model": model, "top_k": 99})
    by_index = {prediction["index"]: prediction["score"] for prediction in answer.json()["predictions"]}
    return [by_index[index] for index in range(len(by_index))]


async def test_the_server_and_its_models_describe_themselves(client: httpx.AsyncClient) -> None:
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
async def test_readiness_and_errors_have_the_form_of_the_protocol(
    client: httpx.AsyncClient, path: str, status: int
) -> None:
    response = await client.get(path)
    assert response.status_code == status
    if status != 200:
        assert set(response.json()) == {"error"}
        assert response.headers["Content-Type"] == "application/json"


async def test_encoded_images_in_json(client: httpx.AsyncClient) -> None:
    answer = (await infer(client, image_input(RED, BLUE), id="42")).json()
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("colours", "2", "42")
    (output,) = answer["outputs"]
    assert (output["name"], output["datatype"], output["shape"]) == ("probabilities", "FP32", [2, 6])
    expected = [*await native(client, RED), *await native(client, BLUE)]
    np.testing.assert_allclose(output["data"], expected, atol=1e-5)


async def test_pixels_in_json_nested_or_flat(client: httpx.AsyncClient) -> None:
    pixels = np.stack([decoded_pixels(RED), decoded_pixels(BLUE)])
    expected = [*await native(client, RED), *await native(client, BLUE)]
    for data in (pixels.tolist(), pixels.ravel().tolist()):
        tensor = {"name": "pixels", "datatype": "UINT8", "shape": list(pixels.shape), "data": data}
        answer = (await infer(client, tensor)).json()
        np.testing.assert_allclose(answer["outputs"][0]["data"], expected, atol=1e-5)


async def test_a_version_can_be_asked(client: httpx.AsyncClient) -> None:
    answer = (await infer(client, image_input(RED), path="/v2/models/colours/versions/1/infer")).json()
    assert answer["model_version"] == "1"
    np.testing.assert_allclose(answer["outputs"][0]["data"], await native(client, RED, "colours@1"), atol=1e-5)


async def test_classes_by_name(client: httpx.AsyncClient) -> None:
    wanted = [{"name": "probabilities", "parameters": {"classification": 2}}]
    (output,) = (await infer(client, image_input(RED, BLUE), outputs=wanted)).json()["outputs"]
    assert (output["datatype"], output["shape"]) == ("BYTES", [2, 2])
    for text, label in ((output["data"][0], "red"), (output["data"][2], "blue")):
        score, index, name = text.split(":")
        assert (name, LABELS[int(index)]) == (label, label)
        assert 0.5 < float(score) <= 1


def binary(*pictures: bytes, wanted_binary: bool = True) -> tuple[bytes, dict[str, str]]:
    raw = b"".join(len(picture).to_bytes(4, "little") + picture for picture in pictures)
    tensor = {
        "name": "image",
        "datatype": "BYTES",
        "shape": [len(pictures)],
        "parameters": {"binary_data_size": len(raw)},
    }
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": wanted_binary}}).encode()
    return head + raw, {"Inference-Header-Content-Length": str(len(head))}


async def test_tensors_as_bytes_in_and_out(client: httpx.AsyncClient) -> None:
    body, headers = binary(RED, BLUE)
    response = await client.post(INFER, content=body, headers=headers)
    length = int(response.headers["Inference-Header-Content-Length"])
    answer = json.loads(response.content[:length])
    (output,) = answer["outputs"]
    assert output["parameters"]["binary_data_size"] == len(response.content) - length == 2 * 6 * 4
    assert "data" not in output
    found = np.frombuffer(response.content[length:], "<f4").reshape(2, 6)
    np.testing.assert_allclose(found[0], await native(client, RED), atol=1e-5)
    np.testing.assert_allclose(found[1], await native(client, BLUE), atol=1e-5)


async def test_nested_lists_of_encoded_images(client: httpx.AsyncClient) -> None:
    tensor = image_input(RED, BLUE, shape=[2, 1])
    tensor["data"] = [[text] for text in tensor["data"]]
    assert (await infer(client, tensor)).json()["outputs"][0]["shape"] == [2, 6]


async def test_errors_of_the_root_have_the_form_of_the_protocol(client: httpx.AsyncClient) -> None:
    response = await client.post("/v2")
    assert (response.status_code, set(response.json())) == (405, {"error"})


async def test_bytes_in_and_json_out(client: httpx.AsyncClient) -> None:
    body, headers = binary(RED, wanted_binary=False)
    response = await client.post(INFER, content=body, headers=headers)
    assert "Inference-Header-Content-Length" not in response.headers
    np.testing.assert_allclose(response.json()["outputs"][0]["data"], await native(client, RED), atol=1e-5)


async def test_images_of_one_request_share_batches(own_client: httpx.AsyncClient, engine: ColourEngine) -> None:
    pixels = np.stack([decoded_pixels(RED)] * 8)
    tensor = {"name": "pixels", "datatype": "UINT8", "shape": list(pixels.shape), "data": pixels.tolist()}
    engine.go.clear()
    request = asyncio.create_task(infer(own_client, tensor))
    await asyncio.to_thread(engine.began.acquire)
    await wait_for_queued(own_client, 8 - engine.sizes[0])
    engine.go.set()
    assert (await request).status_code == 200
    assert len(engine.sizes) == (2 if engine.sizes[0] < 8 else 1)
    assert sum(engine.sizes) == 8


_IMAGE = {"name": "image", "datatype": "BYTES", "shape": [1]}
_PIXELS = {"name": "pixels", "datatype": "UINT8", "shape": [1, 2, 2, 3]}


@pytest.mark.parametrize(
    ("tensor", "status", "words"),
    [
        ({"name": "image", "datatype": "BYTES", "shape": [1], "data": ["no base64!"]}, 400, "base64"),
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
async def test_a_tensor_that_is_wrong_is_a_clear_error(
    client: httpx.AsyncClient, tensor: dict[str, Any], status: int, words: str
) -> None:
    response = await infer(client, tensor)
    assert set(response.json()) == {"error"}
    assert response.status_code == status
    assert words in response.json()["error"]


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
        (binary(RED)[0] + b"more", binary(RED)[1], 400),
        (binary(RED)[0][:-1], binary(RED)[1], 400),
        (b"{}", {"Inference-Header-Content-Length": "9" * 5000}, 400),
        (json.dumps({"inputs": [0] * 100_000}).encode(), {}, 422),
        (json.dumps({"inputs": [image_input(RED)], "outputs": [{"name": "probabilities"}] * 2}).encode(), {}, 422),
        (json.dumps({"inputs": [image_input(RED)], "id": "x" * 300}).encode(), {}, 422),
        (b'{"inputs": [' + b"0," * 2_000_000 + b"0]}", {}, 413),
    ],
)
async def test_a_body_that_is_wrong_is_a_clear_error(
    client: httpx.AsyncClient, body: bytes, headers: dict[str, str], status: int
) -> None:
    response = await client.post(INFER, content=body, headers=headers)
    assert response.status_code == status
    assert set(response.json()) == {"error"}


@pytest.mark.parametrize("output", [{"name": "other"}, {"name": "probabilities", "parameters": {"classification": -1}}])
async def test_an_output_that_is_not_there_is_an_error(own_client: httpx.AsyncClient, output: dict[str, Any]) -> None:
    response = await infer(own_client, image_input(RED), outputs=[output])
    assert response.status_code == 422
    assert await metric_value(own_client, 'classifier_batch_size_count{extractor="near_net"}') == 0, "work was done for nothing"
    assert "outputs" in response.json()["error"]


async def test_more_images_than_ever_find_room_are_refused(serve: Serve) -> None:
    async with serve(queue_size=1, max_images=4) as client:
        response = await infer(client, image_input(RED, BLUE))
        assert response.status_code == 413
        assert "at most 1 " in response.json()["error"]
