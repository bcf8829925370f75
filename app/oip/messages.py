"""Requests and responses of the protocol: JSON, optionally followed by binary tensors (the binary extension).

Source: the KServe project's Open Inference Protocol, and Triton's extensions `binary_tensor_data` and `classification`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema

from app.errors import BadParameter, BodyTooLarge, MalformedBody

HEADER_LENGTH = "Inference-Header-Content-Length"
MAX_JSON_BYTES = 4_000_000
MAX_JSON_LISTS = 200_000
"""Parsing JSON holds the GIL; this much takes about 0.1 s."""
_NUMBER = re.compile(r"[0-9]{1,12}")


class _OIPModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


Name = Annotated[str, Field(max_length=256)]
Data = Annotated[Any, WithJsonSchema({"type": "array", "items": {}})]
"""Not validated here: `tensors` reads at most as many values as the shape allows, while pydantic would visit all."""
Size = Annotated[int, Field(le=2**31 - 1, json_schema_extra={"minimum": 1})]


class InferInput(_OIPModel):
    """An input tensor: in `data`, or as `parameters.binary_data_size` bytes after the JSON."""

    name: Name = Field(json_schema_extra={"enum": ["image", "pixels"]})
    shape: list[Size] = Field(min_length=1, max_length=8)
    datatype: Name = Field(json_schema_extra={"enum": ["BYTES", "UINT8"]})
    parameters: dict[str, Any] = {}
    data: Data | SkipJsonSchema[None] = None


class RequestedOutput(_OIPModel):
    """A requested output tensor; `parameters.classification` = n requests the n most likely labels instead."""

    name: Name = Field(json_schema_extra={"enum": ["probabilities"]})
    parameters: dict[str, Any] = {}


class InferRequest(_OIPModel):
    """An inference request; all models have one input and one output."""

    id: Name = ""
    parameters: dict[str, Any] = {}
    inputs: list[InferInput] = Field(json_schema_extra={"minItems": 1, "maxItems": 1})
    outputs: list[RequestedOutput] = Field([], json_schema_extra={"maxItems": 1})

    def wants_binary(self, output: RequestedOutput) -> bool:
        """Return whether the output is requested as bytes."""
        return output.parameters.get("binary_data", self.parameters.get("binary_data_output", False)) is True


@dataclass(frozen=True)
class ParsedRequest:
    """A request and its binary tensors, by name."""

    request: InferRequest
    binary_tensors: dict[str, bytes]


@dataclass(frozen=True)
class OutputTensor:
    """An output tensor: FP32 values, or strings (BYTES)."""

    name: str
    values: npt.NDArray[np.float32] | Sequence[Sequence[str]]
    is_binary: bool

    @property
    def datatype(self) -> str:
        """Datatype in the notation of the protocol."""
        return "FP32" if isinstance(self.values, np.ndarray) else "BYTES"

    @property
    def shape(self) -> list[int]:
        """Number of rows, and of values per row."""
        return [len(self.values), len(self.values[0]) if len(self.values) else 0]

    def to_bytes(self) -> bytes:
        """Return the values row by row, little-endian; each string is preceded by its length as 4 bytes."""
        if isinstance(self.values, np.ndarray):
            return self.values.astype("<f4").tobytes()
        texts = [text.encode() for row in self.values for text in row]
        return b"".join(len(text).to_bytes(4, "little") + text for text in texts)

    def to_json(self) -> list[Any]:
        """Return the values row by row as one flat list."""
        if isinstance(self.values, np.ndarray):
            flat: list[Any] = self.values.ravel().tolist()
            return flat
        return [text for row in self.values for text in row]


def parse_request(body: bytes, header_length: str | None) -> ParsedRequest:
    """Parse a request.

    Args:
        body: HTTP request body.
        header_length: value of the header `HEADER_LENGTH`, the size of the JSON in bytes; None if there are no binary
            tensors.

    Raises:
        MalformedBody: The body is not valid JSON, or sizes are inconsistent.
        BadParameter: The JSON does not match the schema, or requests shared memory.
        BodyTooLarge: The JSON is too large.
    """
    length = len(body) if header_length is None else _parse_header_length(header_length, len(body))
    if length > MAX_JSON_BYTES:
        raise BodyTooLarge(
            f"The JSON is larger than the limit of {MAX_JSON_BYTES:,} bytes. "
            "Send tensors as bytes with the binary extension."
        )
    head = body[:length]
    if head.count(b"[") + head.count(b"{") > MAX_JSON_LISTS:
        raise BodyTooLarge(f"The JSON has more than {MAX_JSON_LISTS:,} lists and objects. Send flat tensors, or bytes.")
    try:
        document = json.loads(head)
        _check_tensor_counts(document)
        request = InferRequest.model_validate(document)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, problem["loc"])) or "request"
        raise BadParameter(f"{where}: {problem['msg']}.") from error
    except (ValueError, RecursionError) as error:
        raise MalformedBody("The request is not valid JSON.") from error
    _reject_shared_memory(request)
    raw, begin = {}, length
    for tensor in request.inputs:
        size = tensor.parameters.get("binary_data_size")
        if size is None:
            continue
        if type(size) is not int or not 0 <= size <= len(body) - begin:
            raise MalformedBody(f"binary_data_size of input {tensor.name} does not match the body.")
        raw[tensor.name] = body[begin : begin + size]
        begin += size
    if begin != len(body):
        raise MalformedBody(f"There are {len(body) - begin} extra bytes after the last tensor.")
    return ParsedRequest(request, raw)


def render_response(
    model: str, version: int, request_id: str, outputs: Sequence[OutputTensor]
) -> tuple[bytes, int | None]:
    """Return the response body, and the size of its JSON in bytes, or None if there are no binary tensors."""
    tensors: list[dict[str, Any]] = []
    tail = b""
    for output in outputs:
        tensor: dict[str, Any] = {"name": output.name, "datatype": output.datatype, "shape": output.shape}
        if output.is_binary:
            data = output.to_bytes()
            tensor["parameters"] = {"binary_data_size": len(data)}
            tail += data
        else:
            tensor["data"] = output.to_json()
        tensors.append(tensor)
    response = {"model_name": model, "model_version": str(version), "outputs": tensors}
    head = json.dumps(response | ({"id": request_id} if request_id else {})).encode()
    return head + tail, len(head) if any(output.is_binary for output in outputs) else None


def _reject_shared_memory(request: InferRequest) -> None:
    parameters = [(tensor.name, tensor.parameters) for tensor in request.inputs]
    parameters += [(output.name, output.parameters) for output in request.outputs]
    for name, named in parameters:
        if any(each.startswith("shared_memory") for each in named):
            raise BadParameter(
                f"{name}: shared memory is not supported. Send the data in the request, as JSON or with the "
                "binary extension."
            )


def _check_tensor_counts(document: Any) -> None:
    """Reject a wrong number of tensors before pydantic visits a list that may have millions of items."""
    if not isinstance(document, dict):
        raise BadParameter("The request is not a JSON object.")
    for name, minimum in (("inputs", 1), ("outputs", 0)):
        tensors = document.get(name, [])
        if isinstance(tensors, list) and not minimum <= len(tensors) <= 1:
            raise BadParameter(f"{name}: expected one, got {len(tensors)}.")


def _parse_header_length(header: str, max_bytes: int) -> int:
    if not _NUMBER.fullmatch(header) or int(header) > max_bytes:
        raise MalformedBody(f"{HEADER_LENGTH} does not match the body.")
    return int(header)
