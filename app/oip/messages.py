"""Requests and answers of the protocol: JSON, or JSON with tensors as bytes behind it (its binary extension).

Source: the KServe project's Open Inference Protocol, and Triton's extensions `binary_tensor_data` and `classification`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.errors import BadParameter, BrokenBody

HEADER_LENGTH = "Inference-Header-Content-Length"


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Input(_Message):
    """A tensor that is sent."""

    name: str
    shape: list[int] = Field(min_length=1, max_length=8)
    datatype: str
    parameters: dict[str, Any] = {}
    data: Any = None


class Wanted(_Message):
    """A tensor that is asked for."""

    name: str
    parameters: dict[str, Any] = {}


class Request(_Message):
    """What to infer from what."""

    id: str = ""
    parameters: dict[str, Any] = {}
    inputs: list[Input] = Field(min_length=1)
    outputs: list[Wanted] = []

    def is_binary(self, wanted: Wanted) -> bool:
        """Whether an output is to come as bytes."""
        return bool(wanted.parameters.get("binary_data", self.parameters.get("binary_data_output", False)))


@dataclass(frozen=True)
class Received:
    """A request, and the bytes of those of its tensors that came as such, by name."""

    request: Request
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
    """
    length = len(body) if header_length is None else _length(header_length, len(body))
    try:
        request = Request.model_validate(json.loads(body[:length]))
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"])) or "the request"
        raise BadParameter(f"{where}: {problem['msg']}.") from error
    except (ValueError, RecursionError) as error:
        raise BrokenBody("The request is no valid JSON.") from error
    raw, begin = {}, length
    for tensor in request.inputs:
        size = tensor.parameters.get("binary_data_size")
        if size is None:
            continue
        if not isinstance(size, int) or not 0 <= size <= len(body) - begin:
            raise BrokenBody(f"binary_data_size of input {tensor.name} does not fit the body.")
        raw[tensor.name] = body[begin : begin + size]
        begin += size
    if begin != len(body):
        raise BrokenBody(f"There are {len(body) - begin} bytes behind the last tensor.")
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


def _length(header: str, most: int) -> int:
    if not header.isdecimal() or int(header) > most:
        raise BrokenBody(f"{HEADER_LENGTH} does not fit the body.")
    return int(header)
