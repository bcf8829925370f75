"""The images in a request of the protocol.

image     BYTES [n]               encoded images: base64 in JSON, as they are in the binary extension
pixels    UINT8 [n, h, w, 3]      RGB
"""

from __future__ import annotations

import base64
import binascii
import math
from typing import Any

import numpy as np

from app.errors import BadParameter, MalformedBody, TooManyImages
from app.oip.messages import InferInput, Received
from models.arrays import Pixels
from models.decoding.image import Limits, check_size

IMAGE, PIXELS = "image", "pixels"
_END = object()


def images(received: Received, limits: Limits, max_images: int) -> list[bytes] | list[Pixels]:
    """The images that are to be classified.

    Raises:
        BadParameter: there is not exactly one input that the models have.
        BrokenBody: its data does not fit its shape.
        TooManyImages, ImageTooLarge: more than the limits allow.
    """
    inputs = received.request.inputs
    if len(inputs) != 1 or (inputs[0].name, inputs[0].datatype) not in ((IMAGE, "BYTES"), (PIXELS, "UINT8")):
        raise BadParameter(
            f"inputs: send one, `{IMAGE}` (BYTES, encoded images) or `{PIXELS}` (UINT8 [n, height, width, 3], RGB)."
        )
    tensor, raw = inputs[0], received.raw.get(inputs[0].name)
    if min(tensor.shape) < 1:
        raise BadParameter(f"{tensor.name}: its shape {tensor.shape} holds no image.")
    if tensor.name == PIXELS:
        return _pixels(tensor, raw, limits, max_images)
    count = math.prod(tensor.shape)
    if count > max_images:
        raise TooManyImages(max_images)
    return _split(tensor, raw, count) if raw is not None else _from_base64(tensor)


def _pixels(tensor: InferInput, raw: bytes | None, limits: Limits, max_images: int) -> list[Pixels]:
    if len(tensor.shape) != 4 or tensor.shape[3] != 3:
        raise BadParameter(f"{tensor.name}: its shape {tensor.shape} is not [n, height, width, 3].")
    count, height, width, _ = tensor.shape
    if count > max_images:
        raise TooManyImages(max_images)
    check_size((width, height), limits)
    values = np.frombuffer(raw, np.uint8) if raw is not None else _bytes_of(tensor)
    if values.size != math.prod(tensor.shape):
        raise _misfit(tensor)
    return list(values.reshape(tensor.shape))


def _bytes_of(tensor: InferInput) -> Pixels:
    """Numbers in JSON."""
    values = _flat(tensor)
    if not all(type(value) is int for value in values):
        raise _no_bytes(tensor)
    try:
        return np.frombuffer(bytes(values), np.uint8)
    except ValueError as error:
        raise _no_bytes(tensor) from error


def _flat(tensor: InferInput) -> list[Any]:
    """What JSON may hold in one list or in nested ones, as many as the shape says; no nesting is taken on trust."""
    most, values, left = math.prod(tensor.shape), [], [iter([tensor.data])]
    for _ in range(2 * most + len(tensor.shape) * (most + 1)):
        value = next(left[-1], _END)
        if value is _END:
            left.pop()
            if not left:
                break
        elif isinstance(value, list):
            if len(left) > len(tensor.shape):
                break
            left.append(iter(value))
        else:
            values.append(value)
    if left or len(values) != most:
        raise _misfit(tensor)
    return values


def _split(tensor: InferInput, raw: bytes, count: int) -> list[bytes]:
    """Each element lies behind its length in four bytes."""
    elements: list[bytes] = []
    begin = 0
    while begin + 4 <= len(raw) and len(elements) <= count:
        length = int.from_bytes(raw[begin : begin + 4], "little")
        elements.append(raw[begin + 4 : begin + 4 + length])
        begin += 4 + length
    if begin != len(raw) or len(elements) != count:
        raise _misfit(tensor)
    return elements


def _from_base64(tensor: InferInput) -> list[bytes]:
    texts = _flat(tensor)
    if not all(isinstance(text, str) for text in texts):
        raise _misfit(tensor)
    try:
        return [base64.b64decode(text, validate=True) for text in texts]
    except (binascii.Error, ValueError) as error:
        raise MalformedBody(
            f"{tensor.name}: its data is no base64; as bytes, send it by the binary extension."
        ) from error


def _no_bytes(tensor: InferInput) -> BadParameter:
    return BadParameter(f"{tensor.name}: its values are not whole numbers from 0 to 255.")


def _misfit(tensor: InferInput) -> MalformedBody:
    return MalformedBody(f"{tensor.name}: its data does not fit its shape {tensor.shape}.")
