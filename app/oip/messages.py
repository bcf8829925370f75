"""Requests and answers of the protocol: JSON, or JSON with tensors as bytes behind it (its binary extension).

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
"""While JSON is read nothing else of the process runs, a tenth of a second for so much."""
_NUMBER = re.compile(r"[0-9]{1,12}")


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


Name = Annotated[str, Field(max_length=256)]
Data = Annotated[Any, WithJsonSchema({"type": "array", "items": {}})]
"""Taken as it is: to look through a list of millions is left to who knows how many there should be."""
Size = Annotated[int, Field(le=2**31 - 1, json_schema_extra={"minimum": 1})]


class InferInput(_Message):
    """A tensor that is sent: in `data`, or as bytes behind the JSON (`parameters.binary_data_size` of them)."""

    name: Name = Field(json_schema_extra={"enum": ["image", "pixels"]})
    shape: list[Size] = Field(min_length=1, max_length=8)
    datatype: Name = Field(json_schema_extra={"enum": ["BYTES", "UINT8"]})
    parameters: dict[str, Any] = {}
    data: Data | SkipJsonSchema[None] = None


class RequestedOutput(_Message):
    """A tensor that is asked for; `classification` in `parameters` asks for so many labels in its place."""

    name: Name = Field(json_schema_extra={"enum": ["probabilities"]})
    parameters: dict[str, Any] = {}


class InferRequest(_Message):
    """What to infer from what; models here have one input and one output."""

    id: Name = ""
    parameters: dict[str, Any] = {}
    inputs: list[InferInput] = Field(json_schema_extra={"minItems": 1, "maxItems": 1})
    outputs: list[RequestedOutput] = Field([], json_schema_extra={"maxItems": 1})

    def is_binary(self, wanted: RequestedOutput) -> bool:
        """Whether an output is to come as bytes."""
        return wanted.parameters.get("binary_data", self.parameters.get("binary_data_output", False)) is True


@dataclass(frozen=True)
class Received:
    """A request, and the bytes of those of its tensors that came as such, by name."""

    request: InferRequest
    raw: dict[str, bytes]


@dataclass(frozen=True)
class Output:
    """A tensor to be sent: FP32, or strings for BYTES."""

    name: str
    values: npt.NDArray[np.float32] | Sequence[Sequence[str]]
    binary: bool

    @property
    def datatype(self) -> str:
        """As the protocol names it."""
        return "FP32" if isinstance(self.values, np.ndarray) else "BYTES"

    @property
    def shape(self) -> list[int]:
        """Rows, and values in each."""
        return [len(self.values), len(self.values[0]) if len(self.values) else 0]

    def as_bytes(self) -> bytes:
        """Row after row; each string behind its length in four bytes."""
        if isinstance(self.values, np.ndarray):
            return self.values.astype("<f4").tobytes()
        texts = [text.encode() for row in self.values for text in row]
        return b"".join(len(text).to_bytes(4, "little") + text for text in texts)

    def as_json(self) -> list[Any]:
        """The same as one flat list."""
        if isinstance(self.values, np.ndarray):
            flat: list[Any] = self.values.ravel().tolist()
            return flat
        return [text for row in self.values for text in row]


def parse(body: bytes, header_length: str | None) -> Received:
    """Read a request.

    Args:
        body: of the HTTP request.
        header_length: how much of it is JSON, if not all; the value of the header `HEADER_LENGTH`.

    Raises:
        BrokenBody: it is no JSON, or its parts do not fit each other.
        BadParameter: the JSON is of another form.
        BodyTooLarge: the JSON is; pictures of that size have to come as bytes.
    """
    length = len(body) if header_length is None else _length(header_length, len(body))
    if length > MAX_JSON_BYTES:
        raise BodyTooLarge(
            f"The JSON is larger than the limit of {MAX_JSON_BYTES:,} bytes. "
            "Send tensors as bytes, by the binary extension."
        )
    head = body[:length]
    if head.count(b"[") + head.count(b"{") > MAX_JSON_LISTS:
        raise BodyTooLarge(f"The JSON has more than {MAX_JSON_LISTS:,} lists. Send tensors flat, or as bytes.")
    try:
        document = json.loads(head)
        _check_counts(document)
        request = InferRequest.model_validate(document)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, problem["loc"])) or "the request"
        raise BadParameter(f"{where}: {problem['msg']}.") from error
    except (ValueError, RecursionError) as error:
        raise MalformedBody("The request is no valid JSON.") from error
    raw, begin = {}, length
    for tensor in request.inputs:
        size = tensor.parameters.get("binary_data_size")
        if size is None:
            continue
        if type(size) is not int or not 0 <= size <= len(body) - begin:
            raise MalformedBody(f"binary_data_size of input {tensor.name} does not fit the body.")
        raw[tensor.name] = body[begin : begin + size]
        begin += size
    if begin != len(body):
        raise MalformedBody(f"There are {len(body) - begin} bytes behind the last tensor.")
    return Received(request, raw)


def render(model: str, version: int, request_id: str, outputs: Sequence[Output]) -> tuple[bytes, int | None]:
    """An answer, and how much of it is JSON, if not all."""
    tensors: list[dict[str, Any]] = []
    tail = b""
    for output in outputs:
        tensor: dict[str, Any] = {"name": output.name, "datatype": output.datatype, "shape": output.shape}
        if output.binary:
            data = output.as_bytes()
            tensor["parameters"] = {"binary_data_size": len(data)}
            tail += data
        else:
            tensor["data"] = output.as_json()
        tensors.append(tensor)
    answer = {"model_name": model, "model_version": str(version), "outputs": tensors}
    head = json.dumps(answer | ({"id": request_id} if request_id else {})).encode()
    return head + tail, len(head) if any(output.binary for output in outputs) else None


def _check_counts(document: Any) -> None:
    """Models here have one input and one output: lists of millions need not be looked through to refuse them."""
    if not isinstance(document, dict):
        raise BadParameter("The request is no JSON object.")
    for name, least in (("inputs", 1), ("outputs", 0)):
        tensors = document.get(name, [])
        if isinstance(tensors, list) and not least <= len(tensors) <= 1:
            raise BadParameter(f"{name}: there is one; this request names {len(tensors)}.")


def _length(header: str, most: int) -> int:
    if not _NUMBER.fullmatch(header) or int(header) > most:
        raise MalformedBody(f"{HEADER_LENGTH} does not fit the body.")
    return int(header)
