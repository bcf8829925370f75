"""Arrays of floats as plain values, and back."""

from __future__ import annotations

import math

import numpy as np

from models.heads.estimators import FloatArray

_DTYPES = ("<f4", "<f8")
_MAX_DIMENSIONS = 2


def encode(array: FloatArray) -> dict[str, object]:
    """Describe an array of float32 or float64 by its dtype, its shape, and its bytes in C order."""
    little_endian = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return {"dtype": little_endian.dtype.str, "shape": array.shape, "data": little_endian.tobytes()}


def decode(dtype: object, shape: object, data: object, *, is_fortran: object = False) -> FloatArray:
    """Create an array of checked values.

    Args:
        dtype: `<f4` or `<f8`.
        shape: at most two sides.
        data: exactly the bytes of the array.
        is_fortran: True if they are in Fortran order.

    Raises:
        ValueError: one of them is something else.
    """
    if not (isinstance(dtype, str) and dtype in _DTYPES and isinstance(data, bytes)):
        raise ValueError("an array is not of float32 or float64")
    if not (isinstance(shape, tuple) and len(shape) <= _MAX_DIMENSIONS and all(map(_is_side, shape))):
        raise ValueError("an array has no valid shape")
    if math.prod(shape) * np.dtype(dtype).itemsize != len(data):
        raise ValueError("an array has another size than its shape")
    array: FloatArray = np.frombuffer(data, dtype).reshape(shape, order="F" if is_fortran is True else "C")
    return array


def _is_side(value: object) -> bool:
    return type(value) is int and value >= 0
