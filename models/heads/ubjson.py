"""Strict reader of UBJSON (https://ubjson.org, draft 12) as XGBoost writes its models.

It accepts only the markers that XGBoost writes, with lengths of 64 bits, and nothing after the value, so that XGBoost
cannot read another value from the same bytes.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

_MAX_DEPTH = 12
_LENGTH = struct.Struct(">cq")  # marker L
_TYPED_ARRAY = struct.Struct(">ccccq")  # marker $, type, marker #, marker L
_NUMBERS = {
    marker: struct.Struct(f">{code}")
    for marker, code in {b"i": "b", b"U": "B", b"I": "h", b"l": "i", b"L": "q", b"d": "f", b"D": "d"}.items()
}
_FORMATS = {marker: (number.format, number.size) for marker, number in _NUMBERS.items()}
_CONSTANTS = {b"T": True, b"F": False, b"Z": None}
_TOO_LONG = "the model has a length beyond its end"


class Numbers(NamedTuple):
    """A typed array.

    Attributes:
        format: `>` and the type's code, for `struct` and NumPy.
        data: the big-endian numbers.
    """

    format: str
    data: bytes


def parse(data: bytes) -> Any:
    """Parse one value; typed arrays become `Numbers`, others lists.

    Raises:
        ValueError: the bytes are not UBJSON as XGBoost writes it, or nested too deeply.
    """
    try:
        value, end = _value(data, 0, _MAX_DEPTH)
    except (struct.error, UnicodeDecodeError) as error:
        raise ValueError("the model ends early, or holds a text that is not UTF-8") from error
    if end != len(data):
        raise ValueError("the model has bytes after its end")
    return value


def _value(data: bytes, start: int, depth: int) -> tuple[Any, int]:
    """Parse the value that begins at `start`; returns it and the position after it."""
    marker, start = data[start : start + 1], start + 1
    if not depth:
        raise ValueError("the model is nested too deeply")
    if marker == b"[":
        return _array(data, start, depth - 1)
    if marker == b"S":
        return _string(data, start)
    if marker == b"{":
        return _object(data, start, depth - 1)
    if number := _NUMBERS.get(marker):
        return number.unpack_from(data, start)[0], start + number.size
    if marker in _CONSTANTS:
        return _CONSTANTS[marker], start
    raise ValueError(f"the model has an unknown marker at byte {start - 1}")


def _object(data: bytes, start: int, depth: int) -> tuple[dict[str, Any], int]:
    members: dict[str, Any] = {}
    while data[start : start + 1] != b"}":
        key, start = _string(data, start)
        if key in members:
            raise ValueError("the model has a key twice")
        members[key], start = _value(data, start, depth)
    return members, start + 1


def _array(data: bytes, start: int, depth: int) -> tuple[Any, int]:
    if data[start : start + 1] == b"$":
        return _typed_array(data, start)
    if data[start : start + 1] != b"#":
        raise ValueError("the model has an array without a length")
    count, start = _length(data, start + 1)
    values = []
    for _ in range(count):
        value, start = _value(data, start, depth)
        values.append(value)
    return values, start


def _typed_array(data: bytes, start: int) -> tuple[Numbers, int]:
    _, kind, hash_sign, marker, count = _TYPED_ARRAY.unpack_from(data, start)
    if kind not in _FORMATS or hash_sign != b"#" or marker != b"L":
        raise ValueError("the model has an array of an unknown type")
    code, item_bytes = _FORMATS[kind]
    start += _TYPED_ARRAY.size
    end = start + count * item_bytes
    if not start <= end <= len(data):
        raise ValueError(_TOO_LONG)
    return Numbers(code, data[start:end]), end


def _string(data: bytes, start: int) -> tuple[str, int]:
    length, start = _length(data, start)
    end = start + length
    return data[start:end].decode(), end


def _length(data: bytes, start: int) -> tuple[int, int]:
    """Parse the number of the following items, which have at least one byte each."""
    marker, length = _LENGTH.unpack_from(data, start)
    start += _LENGTH.size
    if marker != b"L" or not 0 <= length <= len(data) - start:
        raise ValueError(_TOO_LONG)
    return length, start
