"""Binary tensors, byte by byte."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import BadParameter, MalformedBody, TooManyImages
from app.oip.messages import InferInput, InferRequest, OutputTensor, ParsedRequest
from app.oip.tensors import read_images
from models.decoding.errors import ImageTooLarge
from models.decoding.limits import Limits

LIMITS = Limits(max_bytes=1000, max_pixels=24, max_side=8)


def parsed(raw: bytes | None, name: str = "image", shape: tuple[int, ...] = (1,), data: Any = None) -> ParsedRequest:
    datatype = "BYTES" if name == "image" else "UINT8"
    tensor = InferInput(name=name, shape=list(shape), datatype=datatype, data=data)
    return ParsedRequest(InferRequest(inputs=[tensor]), {} if raw is None else {name: raw})


def packed(elements: list[bytes]) -> bytes:
    return b"".join(len(element).to_bytes(4, "little") + element for element in elements)


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=6), st.data())
def test_elements_are_split_at_their_lengths(elements: list[bytes], data: st.DataObject) -> None:
    raw, count = packed(elements), len(elements)
    assert read_images(parsed(raw, shape=(count,)), LIMITS, 6) == elements
    assert read_images(parsed(raw, shape=(1, count, 1)), LIMITS, 6) == elements
    missing = data.draw(st.integers(1, len(raw)))
    for damaged, said in ((raw[:-missing], count), (raw + bytes(1), count), (raw, count + 1), (raw + bytes(4), count)):
        with pytest.raises(MalformedBody):
            read_images(parsed(damaged, shape=(said,)), LIMITS, 99)
    if count > 1:
        with pytest.raises(MalformedBody):
            read_images(parsed(raw, shape=(count - 1,)), LIMITS, 99)


@pytest.mark.parametrize("length", [0, 1, 2, 4, 5, 255, 2**31, 2**32 - 1])
def test_length_other_than_that_of_the_element_is_malformed(length: int) -> None:
    with pytest.raises(MalformedBody):
        read_images(parsed(length.to_bytes(4, "little") + b"abc"), LIMITS, 1)
    assert read_images(parsed(b"\x03\0\0\0abc"), LIMITS, 1) == [b"abc"]


@given(st.lists(st.lists(st.text(max_size=20), min_size=2, max_size=2), min_size=1, max_size=3))
def test_length_of_a_string_is_that_of_its_bytes(rows: list[list[str]]) -> None:
    tensor = OutputTensor("labels", rows, is_binary=True)
    texts = [text for row in rows for text in row]
    assert tensor.to_bytes() == packed([text.encode() for text in texts])
    assert read_images(parsed(tensor.to_bytes(), shape=(len(texts),)), LIMITS, 6) == [text.encode() for text in texts]
    assert (tensor.shape, tensor.datatype, tensor.to_json()) == ([len(rows), 2], "BYTES", texts)


def test_floats_are_written_little_endian_row_by_row() -> None:
    tensor = OutputTensor("p", np.array([[1, 2, 3], [4, 5, 6.5]], np.float32), is_binary=True)
    assert tensor.to_bytes() == np.array([1, 2, 3, 4, 5, 6.5], "<f4").tobytes()
    assert (tensor.shape, tensor.datatype, tensor.to_json()) == ([2, 3], "FP32", [1, 2, 3, 4, 5, 6.5])


def test_pixels_have_their_shape_and_order() -> None:
    values = list(range(48))
    expected = np.arange(48, dtype=np.uint8).reshape(2, 2, 4, 3)
    for raw, data in ((bytes(values), None), (None, values), (None, expected.tolist())):
        images = read_images(parsed(raw, "pixels", (2, 2, 4, 3), data), LIMITS, 2)
        np.testing.assert_array_equal(images, expected)
    for raw, data in ((bytes(47), None), (bytes(49), None), (None, values[:-1]), (None, [*values, 1])):
        with pytest.raises(MalformedBody):
            read_images(parsed(raw, "pixels", (2, 2, 4, 3), data), LIMITS, 2)


@pytest.mark.parametrize("values", [[0, 255, 128], [[[[0, 255, 128]]]]])
def test_values_of_pixels_are_those_of_uint8(values: Any) -> None:
    (image,) = read_images(parsed(None, "pixels", (1, 1, 1, 3), values), LIMITS, 1)
    np.testing.assert_array_equal(image, [[[0, 255, 128]]])


@pytest.mark.parametrize("value", [-1, 256, True, 1.0, "1", None])
def test_value_that_is_no_uint8_is_rejected(value: Any) -> None:
    with pytest.raises(BadParameter):
        read_images(parsed(None, "pixels", (1, 1, 1, 3), [0, 0, value]), LIMITS, 1)


def test_number_of_images_may_reach_its_limit() -> None:
    for name, shape, raw in (("image", (3,), packed([b"a"] * 3)), ("pixels", (3, 1, 1, 3), bytes(9))):
        assert len(read_images(parsed(raw, name, shape), LIMITS, 3)) == 3
        with pytest.raises(TooManyImages, match="at most 2 "):
            read_images(parsed(raw, name, shape), LIMITS, 2)


@pytest.mark.parametrize(
    ("height", "width", "is_allowed"), [(3, 8, True), (8, 3, True), (5, 5, False), (1, 9, False), (9, 1, False)]
)
def test_size_of_pixels_may_reach_its_limits(height: int, width: int, is_allowed: bool) -> None:
    request = parsed(bytes(height * width * 3), "pixels", (1, height, width, 3))
    if is_allowed:
        assert len(read_images(request, LIMITS, 1)) == 1
    else:
        with pytest.raises(ImageTooLarge):
            read_images(request, LIMITS, 1)
