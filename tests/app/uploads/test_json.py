"""Images in JSON: what is read, and the limit on its values."""

from __future__ import annotations

from base64 import b64encode

import pytest

from app.base64_images import decode_base64
from app.errors import BadParameter, MalformedBody, MissingField
from app.uploads.image import _from_json

MAX_VALUES = 1000
IMAGE = bytes(range(256))
BASE64 = b64encode(IMAGE).decode()


def test_only_string_under_the_key_is_the_image() -> None:
    assert _from_json(f'{{"image": "{BASE64}"}}'.encode()) == IMAGE
    for body in (b"{}", b"[]", b'"image"', b'{"image": null}', b'{"image": ["QQ=="]}', b'{"Image": "QQ=="}'):
        with pytest.raises(MissingField):
            _from_json(body)
    for body in (b"", b"{", b'{"image": "QQ=="', b"\xff"):
        with pytest.raises(MalformedBody):
            _from_json(body)
    with pytest.raises(BadParameter):
        _from_json(b'{"image": "QQ==", "other": 1}')


@pytest.mark.parametrize("item", [b"{}", b"[]", b"1"])
def test_json_may_have_1000_values(item: bytes) -> None:
    marks = item.count(b"[") + item.count(b"{") + 1  # and the comma before it
    count = (MAX_VALUES - 1 - 1) // marks  # the object, and the list
    at_the_limit = b'{"other": [0' + (b"," + item) * count + b" " * 100
    rest = MAX_VALUES - at_the_limit.count(b"[") - at_the_limit.count(b"{") - at_the_limit.count(b",")
    at_the_limit += b",0" * rest
    with pytest.raises(MissingField):
        _from_json(at_the_limit + b"]}")
    with pytest.raises(MalformedBody, match="1,000"):
        _from_json(at_the_limit + b",0]}")


def test_values_are_counted_over_the_whole_body() -> None:
    body = b'{"other": [0' + b" " * 100_000 + b",0" * (MAX_VALUES - 1) + b"]}"
    with pytest.raises(MalformedBody, match="1,000"):
        _from_json(body)


@pytest.mark.parametrize(
    "text",
    [BASE64, f"data:image/png;base64,{BASE64}", f"DATA:;BASE64,{BASE64}", f" {BASE64[:8]}\r\n\t\f\v{BASE64[8:]}"],
)
def test_base64_may_have_whitespace_and_be_a_data_uri(text: str) -> None:
    assert decode_base64(text) == IMAGE


@pytest.mark.parametrize(
    "text", ["data:image/png;base64", f"data:image/png,{BASE64}", "QQ", "QQ=", "Q*==", "é", "QQ==="]
)
def test_anything_else_is_malformed(text: str) -> None:
    with pytest.raises(MalformedBody):
        decode_base64(text)
