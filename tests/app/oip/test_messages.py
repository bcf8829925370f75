"""Requests and responses of the protocol: sizes, limits and which bytes belong to what."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from app.errors import BadParameter, BodyTooLarge, MalformedBody
from app.oip.messages import OutputTensor, parse_request, render_response

MAX_JSON_BYTES = 4_000_000
MAX_LISTS = 200_000


def request(size: Any = None, **fields: Any) -> bytes:
    parameters = {} if size is None else {"parameters": {"binary_data_size": size}}
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], **parameters}
    return json.dumps({"inputs": [tensor], **fields}).encode()


def test_bytes_behind_the_json_belong_to_its_tensor() -> None:
    head = request(5)
    assert parse_request(head + b"abcde", str(len(head))).binary_tensors == {"image": b"abcde"}
    assert parse_request(request(0), None).binary_tensors == {"image": b""}
    assert parse_request(request(), None).binary_tensors == {}


@pytest.mark.parametrize(("size", "tail"), [(5, 4), (5, 6), (-1, 0), (True, 1), (5.0, 5), ("5", 5), (None, 1)])
def test_size_other_than_that_of_the_bytes_is_malformed(size: Any, tail: int) -> None:
    head = request(size)
    with pytest.raises(MalformedBody):
        parse_request(head + bytes(tail), str(len(head)))


@pytest.mark.parametrize("change", [-1, 1])
def test_length_of_the_json_is_exact(change: int) -> None:
    head = request(5)
    with pytest.raises(MalformedBody):
        parse_request(head + b"abcde", str(len(head) + change))


def test_length_may_be_that_of_the_whole_body_and_no_more() -> None:
    assert parse_request(request(), str(len(request()))).request.inputs[0].name == "image"
    for length in (str(len(request()) + 1), "-1", "x", "", "1" * 13):
        with pytest.raises(MalformedBody, match="Inference-Header-Content-Length"):
            parse_request(request(), length)


def test_json_may_reach_its_limit_of_bytes() -> None:
    padded = request() + b" " * (MAX_JSON_BYTES - len(request()))
    assert parse_request(padded, None).request.inputs
    with pytest.raises(BodyTooLarge, match="4,000,000"):
        parse_request(padded + b" ", None)
    head = request(MAX_JSON_BYTES)
    assert parse_request(head + bytes(MAX_JSON_BYTES), str(len(head))).binary_tensors, "tensors are no JSON"


@pytest.mark.parametrize("item", [b"[]", b"{}"])
def test_json_may_reach_its_limit_of_lists(item: bytes) -> None:
    start = b'{"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": ['
    count = MAX_LISTS - start.count(b"[") - start.count(b"{")
    assert parse_request(start + b",".join([item] * count) + b"]}]}", None).request.inputs
    with pytest.raises(BodyTooLarge, match="200,000"):
        parse_request(start + b",".join([item] * (count + 1)) + b"]}]}", None)


@pytest.mark.parametrize(
    ("fields", "is_valid"),
    [
        ({"id": "x" * 256}, True),
        ({"id": "x" * 257}, False),
        ({"outputs": []}, True),
        ({"outputs": [{"name": "probabilities"}]}, True),
        ({"outputs": [{"name": "probabilities"}] * 2}, False),
        ({"inputs": []}, False),
        ({"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1]}] * 2}, False),
        ({"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1] * 8}]}, True),
        ({"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1] * 9}]}, False),
        ({"inputs": [{"name": "image", "datatype": "BYTES", "shape": []}]}, False),
        ({"inputs": [{"name": "image", "datatype": "BYTES", "shape": [2**31 - 1]}]}, True),
        ({"inputs": [{"name": "image", "datatype": "BYTES", "shape": [2**31]}]}, False),
    ],
)
def test_fields_have_limits(fields: dict[str, Any], is_valid: bool) -> None:
    if is_valid:
        parse_request(request(**fields), None)
    else:
        with pytest.raises(BadParameter):
            parse_request(request(**fields), None)


@pytest.mark.parametrize(
    ("of_request", "of_output", "is_binary"),
    [
        ({}, {}, False),
        ({"binary_data_output": True}, {}, True),
        ({}, {"binary_data": True}, True),
        ({"binary_data_output": True}, {"binary_data": False}, False),
        ({"binary_data_output": False}, {"binary_data": True}, True),
        ({"binary_data_output": 1}, {}, False),
    ],
)
def test_output_is_binary_if_it_or_else_the_request_says_so(
    of_request: dict[str, Any], of_output: dict[str, Any], is_binary: bool
) -> None:
    body = request(parameters=of_request, outputs=[{"name": "probabilities", "parameters": of_output}])
    parsed = parse_request(body, None).request
    assert parsed.wants_binary(parsed.outputs[0]) == is_binary


def test_response_has_its_tensors_in_the_json_or_behind_it() -> None:
    values = np.array([[1, 2]], np.float32)
    text = OutputTensor("labels", [["é"]], is_binary=True)
    body, length = render_response("m", 3, "id", [OutputTensor("p", values, is_binary=False), text])
    assert length is not None
    head = json.loads(body[:length])
    assert (head["model_name"], head["model_version"], head["id"]) == ("m", "3", "id")
    assert head["outputs"] == [
        {"name": "p", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.0]},
        {"name": "labels", "datatype": "BYTES", "shape": [1, 1], "parameters": {"binary_data_size": 6}},
    ]
    assert body[length:] == b"\x02\0\0\0" + "é".encode()
    body, length = render_response("m", 3, "", [OutputTensor("p", values, is_binary=False)])
    assert (length, "id" in json.loads(body)) == (None, False)
