"""Invalid requests to classify one image: their status, their code and their message."""

from __future__ import annotations

import base64
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.support.asgi import Serve, unreadable_body
from tests.support.encoded_images import TRUNCATED_HEIC, encoded
from tests.support.images import huge_png

pytestmark = pytest.mark.anyio

IMAGE = encoded()
JPEG = encoded(kind="JPEG", size=(400, 300))
LIMIT = 200_000
PROBLEM_FIELDS = {"type", "title", "status", "detail", "instance", "code", "request_id"}


def raw(content: bytes, content_type: str = "image/jpeg", **options: Any) -> dict[str, Any]:
    return {"content": content, "headers": {"Content-Type": content_type}, **options}


def form(content: bytes, content_type: str = "multipart/form-data; boundary=b") -> dict[str, Any]:
    return raw(content, content_type)


def part(name: str, content: bytes = IMAGE) -> bytes:
    return f'--b\r\nContent-Disposition: form-data; name="{name}"; filename="f"\r\n\r\n'.encode() + content + b"\r\n"


async def chunked_body() -> AsyncIterator[bytes]:
    for _ in range(100):
        yield bytes(10_000)


CASES: dict[str, tuple[int, str, dict[str, Any]]] = {
    "empty body": (400, "empty_body", raw(b"")),
    "no body and no type": (400, "empty_body", {}),
    "empty form": (400, "empty_body", form(b"")),
    "empty JSON body": (400, "empty_body", raw(b"", "application/json")),
    "empty file in a form": (400, "empty_image", form(part("file", b"") + b"--b--\r\n")),
    "multipart without a boundary": (400, "broken_body", form(part("file"), "multipart/form-data")),
    "multipart that is an image": (400, "broken_body", form(IMAGE)),
    "multipart cut short": (400, "broken_body", form(part("file"))),
    "multipart part without a name": (
        400,
        "broken_body",
        form(b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n"),
    ),
    "multipart with too many parts": (
        400,
        "broken_body",
        form(b"".join(part(f"f{i}", b"") for i in range(50)) + b"--b--\r\n"),
    ),
    "multipart with a long text": (
        400,
        "broken_body",
        form(b'--b\r\nContent-Disposition: form-data; name="t"\r\n\r\n' + bytes(100_000) + b"\r\n--b--\r\n"),
    ),
    "multipart in a charset that cannot decode": (
        400,
        "broken_body",
        form(
            b'--b\r\nContent-Disposition: form-data; name="t"\r\n\r\nx\r\n--b--\r\n',
            "multipart/form-data; boundary=b; charset=undefined",
        ),
    ),
    "broken JSON": (400, "broken_body", raw(b'{"image": ', "application/json")),
    "JSON that is not UTF-8": (400, "broken_body", raw(b'{"image": "\xff"}', "application/json")),
    "JSON nested deeply": (400, "broken_body", raw(b"[" * 100_000, "application/json")),
    "broken base64": (400, "broken_body", {"json": {"image": "not base64!"}}),
    "empty base64": (400, "empty_image", {"json": {"image": ""}}),
    "URL of an image": (400, "broken_body", {"json": {"image": "https://example.org/cat.jpg"}}),
    "data URI without base64": (400, "broken_body", {"json": {"image": "data:image/png,abc"}}),
    "data URI without a comma": (400, "broken_body", {"json": {"image": "data:image/png;base64"}}),
    "unknown model": (404, "model_not_found", raw(IMAGE, params={"model": "nosuch"})),
    "unknown version": (404, "model_not_found", raw(IMAGE, params={"model": "colours", "version": 9})),
    "one unknown model of several": (404, "model_not_found", raw(IMAGE, params={"model": "colours,nosuch"})),
    "too many bytes": (413, "body_too_large", raw(bytes(LIMIT + 1))),
    "too many bytes in a form": (413, "image_too_large", {"files": {"file": bytes(LIMIT + 1)}}),
    "far too many bytes in a form": (413, "body_too_large", {"files": {"file": bytes(2_000_000)}}),
    "too many bytes in JSON": (413, "image_too_large", {"json": {"image": "A" * (2 * LIMIT)}}),
    "far too many bytes in JSON": (413, "body_too_large", {"json": {"image": "A" * 2_000_000}}),
    "too many bytes, length unknown": (413, "body_too_large", {"content": chunked_body}),
    "too many pixels": (413, "image_too_large", raw(huge_png(10_000))),
    "side too long": (413, "image_too_large", raw(encoded(size=(40_000, 1)))),
    "text": (415, "unsupported_format", raw(b"Hello, this is not an image.")),
    "truncated HEIC": (422, "undecodable_image", raw(TRUNCATED_HEIC)),
    "SVG": (415, "unsupported_format", raw(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml")),
    "text/plain": (415, "unsupported_content_type", raw(IMAGE, "text/plain")),
    "curl's default type": (415, "unsupported_content_type", raw(IMAGE, "application/x-www-form-urlencoded")),
    "form without a file": (422, "missing_field", {"files": {"file": (None, "hello"), "note": (None, "x")}}),
    "two files": (422, "bad_parameter", {"files": {"file": IMAGE, "data": IMAGE}}),
    "JSON without image": (422, "missing_field", {"json": {"upload": "…"}}),
    "JSON that is a list": (422, "missing_field", {"json": ["…"]}),
    "JSON with a number": (422, "missing_field", {"json": {"image": 5}}),
    "truncated JPEG": (422, "undecodable_image", raw(JPEG[: len(JPEG) // 2])),
    "only the first bytes of a PNG": (422, "undecodable_image", raw(IMAGE[:20])),
    "top_k of 0": (422, "bad_parameter", raw(IMAGE, params={"top_k": 0})),
    "top_k that is not a number": (422, "bad_parameter", raw(IMAGE, params={"top_k": "many"})),
    "threshold above 1": (422, "bad_parameter", raw(IMAGE, params={"threshold": 1.1})),
    "threshold that is not a number": (422, "bad_parameter", raw(IMAGE, params={"threshold": "nan"})),
    "version of 0": (422, "bad_parameter", raw(IMAGE, params={"version": 0})),
    "version for several models": (
        422,
        "bad_parameter",
        raw(IMAGE, params={"model": "colours,tones", "version": 1}),
    ),
    "version that is not a number": (422, "bad_parameter", raw(IMAGE, params={"model": "colours@new"})),
    "model that begins with a comma": (422, "bad_parameter", raw(IMAGE, params={"model": ",colours"})),
    "version without a model": (422, "bad_parameter", raw(IMAGE, params={"model": "@1"})),
    "empty model name": (422, "bad_parameter", raw(IMAGE, params={"model": "colours,,tones"})),
    "timeout that is not a number": (
        422,
        "bad_parameter",
        {"content": IMAGE, "headers": {"X-Request-Timeout-Ms": "soon"}},
    ),
}


@pytest.mark.parametrize(("status", "code", "request_"), CASES.values(), ids=CASES.keys())
async def test_bad_input_gets_its_problem_and_the_server_stays_healthy(
    serve: Serve, status: int, code: str, request_: dict[str, Any]
) -> None:
    if callable(request_.get("content")):
        request_ = {**request_, "content": request_["content"]()}
    async with serve(max_body_bytes=LIMIT) as client:
        began = time.process_time()  # processor time, because other processes delay the clock
        response = await client.post("/v1/classify", **request_)
        assert time.process_time() - began < 1
        assert (response.status_code, response.headers["Content-Type"]) == (status, "application/problem+json")
        problem = response.json()
        assert set(problem) == PROBLEM_FIELDS
        assert (problem["status"], problem["code"], problem["instance"]) == (status, code, "/v1/classify")
        assert problem["request_id"] == response.headers["X-Request-ID"]
        assert (await client.get("/readyz")).status_code == 200
        assert (await client.post("/v1/classify", content=IMAGE)).status_code == 200


@pytest.mark.parametrize(
    ("request_", "detail"),
    [
        (raw(bytes(LIMIT + 1)), "200,000 bytes"),
        (raw(huge_png(10_000)), "64,000,000"),
        (raw(TRUNCATED_HEIC), "HEIC"),
        (raw(IMAGE, "application/x-www-form-urlencoded"), "-H 'Content-Type: image/jpeg'"),
        (raw(IMAGE, params={"model": "nosuch"}), "colours@2, colours@1, far@1, tones@1"),
        (raw(IMAGE, params={"top_k": 0}), "top_k"),
        ({"json": {"image": base64.b64encode(b"hello").decode()}}, "JPEG, PNG, WebP"),
    ],
    ids=["bytes", "pixels", "HEIC", "form type", "models", "parameter", "formats"],
)
async def test_detail_names_the_limit_or_the_remedy(serve: Serve, request_: dict[str, Any], detail: str) -> None:
    async with serve(max_body_bytes=LIMIT) as client:
        assert detail in (await client.post("/v1/classify", **request_)).json()["detail"]


async def test_decompression_bomb_is_rejected_before_it_is_decoded(client: httpx.AsyncClient) -> None:
    bomb = huge_png(10_000)
    assert len(bomb) < 15_000
    began = time.process_time()
    assert (await client.post("/v1/classify", content=bomb)).status_code == 413
    assert time.process_time() - began < 0.2


async def test_body_with_too_large_content_length_is_not_read(serve: Serve) -> None:
    async with serve(max_body_bytes=LIMIT) as client:
        response = await client.post(
            "/v1/classify",
            content=unreadable_body(),
            headers={"Content-Length": str(LIMIT + 1), "Content-Type": "image/png"},
        )
    assert response.status_code == 413
