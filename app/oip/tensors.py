"""Input tensors with images.

image     BYTES [n]               encoded images; base64 in JSON, raw bytes in the binary extension
pixels    UINT8 [n, h, w, 3]      RGB
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from app.base64_images import decode_base64
from app.errors import BadParameter, MalformedBody, TooManyImages
from app.oip.messages import InferInput, ParsedRequest
from models.arrays import Pixels
from models.decoding.limits import Limits, check_size

IMAGE, PIXELS = "image", "pixels"
_END = object()


def read_images(received: ParsedRequest, limits: Limits, max_images: int) -> list[bytes] | list[Pixels]:
    """Read the images of a request: encoded bytes, or RGB pixels as uint8 [height, width, 3].

    Raises:
        BadParameter: There is not exactly one input, `image` or `pixels`, of the right datatype and shape.
        MalformedBody: The data does not match the shape.
        TooManyImages, ImageTooLarge: The request exceeds a limit.
    """
    inputs = received.request.inputs
    if len(inputs) != 1 or (inputs[0].name, inputs[0].datatype) not in ((IMAGE, "BYTES"), (PIXELS, "UINT8")):
        raise BadParameter(
            f"inputs: send exactly one: `{IMAGE}` (BYTES, encoded images) or `{PIXELS}` (UINT8 [n, height, width, 3], "
            "RGB)."
        )
    (tensor,) = inputs
    raw = received.binary_tensors.get(tensor.name)
    if min(tensor.shape) < 1:
        raise BadParameter(f"{tensor.name}: the shape {tensor.shape} contains no image.")
    if tensor.name == PIXELS:
        return _read_pixels(tensor, raw, limits, max_images)
    count = math.prod(tensor.shape)
    if count > max_images:
        raise TooManyImages(max_images)
    return _split_elements(tensor, raw, count) if raw is not None else _images_from_base64(tensor)


def _read_pixels(tensor: InferInput, raw: bytes | None, limits: Limits, max_images: int) -> list[Pixels]:
    if len(tensor.shape) != 4 or tensor.shape[3] != 3:
        raise BadParameter(f"{tensor.name}: the shape {tensor.shape} is not [n, height, width, 3].")
    count, height, width, _ = tensor.shape
    if count > max_images:
        raise TooManyImages(max_images)
    check_size((width, height), limits)
    values = np.frombuffer(raw, np.uint8) if raw is not None else _pixels_from_json(tensor)
    if values.size != math.prod(tensor.shape):
        raise _shape_mismatch(tensor)
    return list(values.reshape(tensor.shape))


def _pixels_from_json(tensor: InferInput) -> Pixels:
    """Convert numbers from JSON to uint8."""
    values = _flatten(tensor)
    if not all(type(value) is int for value in values):
        raise _not_uint8(tensor)
    try:
        return np.frombuffer(bytes(values), np.uint8)
    except ValueError as error:
        raise _not_uint8(tensor) from error


def _flatten(tensor: InferInput) -> list[Any]:
    """Flatten a flat or nested list, visiting no more items than the shape allows."""
    count, values, stack = math.prod(tensor.shape), [], [iter([tensor.data])]
    for _ in range(2 * count + len(tensor.shape) * (count + 1)):
        value = next(stack[-1], _END)
        if value is _END:
            stack.pop()
            if not stack:
                break
        elif isinstance(value, list):
            if len(stack) > len(tensor.shape):
                break
            stack.append(iter(value))
        else:
            values.append(value)
    if stack or len(values) != count:
        raise _shape_mismatch(tensor)
    return values


def _split_elements(tensor: InferInput, raw: bytes, count: int) -> list[bytes]:
    """Split binary data; each element is preceded by its length as 4 bytes, little-endian."""
    elements: list[bytes] = []
    begin = 0
    while begin + 4 <= len(raw) and len(elements) <= count:
        length = int.from_bytes(raw[begin : begin + 4], "little")
        elements.append(raw[begin + 4 : begin + 4 + length])
        begin += 4 + length
    if begin != len(raw) or len(elements) != count:
        raise _shape_mismatch(tensor)
    return elements


def _images_from_base64(tensor: InferInput) -> list[bytes]:
    texts = _flatten(tensor)
    if not all(isinstance(text, str) for text in texts):
        raise _shape_mismatch(tensor)
    return [decode_base64(text) for text in texts]


def _not_uint8(tensor: InferInput) -> BadParameter:
    return BadParameter(f"{tensor.name}: values must be integers from 0 to 255.")


def _shape_mismatch(tensor: InferInput) -> MalformedBody:
    return MalformedBody(f"{tensor.name}: the data does not match the shape {tensor.shape}.")
