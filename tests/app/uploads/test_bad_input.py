from __future__ import annotations

import base64
import time
from typing import Any

import httpx
import pytest

from tests.app.conftest import Serve
from tests.support.encoded_images import HEIC, encoded, huge_png

pytestmark = pytest.mark.anyio

PICTURE = encoded()
JPEG = encoded(kind="JPEG", size=(400, 300))
LIMIT = 200_000
PROBLEM_FIELDS = {"type", "title", "status", "detail", "instance", "code", "request_id"}


def raw(content: bytes, kind: str = "image/jpeg", **more: Any) -> dict[str, Any]:
    return {"content": content, "headers": {"Content-Type": kind}, **more}


def form(content: bytes, kind: str = "multipart/form-data; boundary=b") -> dict[str, Any]:
    return raw(content, kind)


def part(name: str, content: bytes = PICTURE) -> bytes:
    return f'--b\r\nContent-Disposition: form-data; name="{name}"; filename="f"\r\n\r\n'.encode() + content + b"\r\n"


async def chunks() -> Any:
    for _ in range(100):
        yield bytes(10_000)


CASES: dict[str, tuple[int, str, dict[str, Any]]] = {
    "empty body": (400, "empty_body", raw(b"")),
    "no body and no type": (400, "empty_body", {}),
    "empty form": (400, "empty_body", form(b"")),
    "empty JSON body": (400, "empty_body", raw(b"", "application/json")),
    "empty file in a form": (400, "empty_image", form(part("file", b"") + b"--b--\r\n")),
    "multipart without a boundary": (400, "broken_body", form(part("file"), "multipart/form-data")),
    "multipart that is none": (400, "broken_body", form(PICTURE)),
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
    "JSON that is no UTF-8": (400, "broken_body", raw(b'{"image": "\xff"}', "application/json")),
    "JSON nested deeply": (400, "broken_body", raw(b"[" * 100_000, "application/json")),
    "broken base64": (400, "broken_body", {"json": {"image": "not base64!"}}),
    "base64 of nothing": (400, "empty_image", {"json": {"image": ""}}),
    "an address": (400, "broken_body", {"json": {"image": "https://example.org/cat.jpg"}}),
    "data URI without base64": (400, "broken_body", {"json": {"image": "data:image/png,abc"}}),
    "data URI without a comma": (400, "broken_body", {"json": {"image": "data:image/png;base64"}}),
    "unknown model": (404, "model_not_found", raw(PICTURE, params={"model": "nosuch"})),
    "unknown version": (404, "model_not_found", raw(PICTURE, params={"model": "colours", "version": 9})),
    "one unknown model of several": (404, "model_not_found", raw(PICTURE, params={"model": "colours,nosuch"})),
    "too many bytes": (413, "body_too_large", raw(bytes(LIMIT + 1))),
    "too many bytes in a form": (413, "body_too_large", {"files": {"file": bytes(LIMIT + 1)}}),
    "too many bytes in JSON": (413, "body_too_large", {"json": {"image": "A" * LIMIT}}),
    "too many bytes, length unknown": (413, "body_too_large", {"content": chunks}),
    "too many pixels": (413, "image_too_large", raw(huge_png())),
    "too long a side": (413, "image_too_large", raw(encoded(size=(40_000, 1)))),
    "text": (415, "unsupported_format", raw(b"Hello, this is no image.")),
    "HEIC": (415, "unsupported_format", raw(HEIC)),
    "SVG": (415, "unsupported_format", raw(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml")),
    "text/plain": (415, "unsupported_content_type", raw(PICTURE, "text/plain")),
    "curl's default type": (415, "unsupported_content_type", raw(PICTURE, "application/x-www-form-urlencoded")),
    "missing field": (422, "missing_field", {"files": {"picture": PICTURE}}),
    "text in the field": (422, "missing_field", {"data": {"file": "hello"}, "files": {"other": b"x"}}),
    "JSON without image": (422, "missing_field", {"json": {"picture": "…"}}),
    "JSON that is a list": (422, "missing_field", {"json": ["…"]}),
    "JSON with a number": (422, "missing_field", {"json": {"image": 5}}),
    "truncated JPEG": (422, "undecodable_image", raw(JPEG[: len(JPEG) // 2])),
    "only the first bytes of a PNG": (422, "undecodable_image", raw(PICTURE[:20])),
    "top_k of 0": (422, "bad_parameter", raw(PICTURE, params={"top_k": 0})),
    "top_k that is no number": (422, "bad_parameter", raw(PICTURE, params={"top_k": "many"})),
    "threshold above 1": (422, "bad_parameter", raw(PICTURE, params={"threshold": 1.1})),
    "threshold that is no number": (422, "bad_parameter", raw(PICTURE, params={"threshold": "nan"})),
    "version of 0": (422, "bad_parameter", raw(PICTURE, params={"version": 0})),
    "a version for several models": (
        422,
        "bad_parameter",
        raw(PICTURE, params={"model": "colours,tones", "version": 1}),
    ),
    "a version that is no number": (422, "bad_parameter", raw(PICTURE, params={"model": "colours@new"})),
    "a name that begins with a comma": (422, "bad_parameter", raw(PICTURE, params={"model": ",colours"})),
    "a version without a name": (422, "bad_parameter", raw(PICTURE, params={"model": "@1"})),
    "an empty name": (422, "bad_parameter", raw(PICTURE, params={"model": "colours,,tones"})),
    "a timeout that is no number": (
        422,
        "bad_parameter",
        {"content": PICTURE, "headers": {"X-Request-Timeout-Ms": "soon"}},
    ),
}


@pytest.mark.parametrize(("status", "code", "request_"), CASES.values(), ids=CASES.keys())
async def test_bad_input_is_answered_with_its_problem_and_the_server_stays_healthy(
    serve: Serve, status: int, code: str, request_: dict[str, Any]
) -> None:
    if callable(request_.get("content")):
        request_ = {**request_, "content": request_["content"]()}
    async with serve(max_body_bytes=LIMIT) as client:
        began = time.process_time()  # not the clock: other processes are none of its business
        response = await client.post("/v1/classify", **request_)
        assert time.process_time() - began < 1
        assert (response.status_code, response.headers["Content-Type"]) == (status, "application/problem+json")
        problem = response.json()
        assert set(problem) == PROBLEM_FIELDS
        assert (problem["status"], problem["code"], problem["instance"]) == (status, code, "/v1/classify")
        assert problem["request_id"] == response.headers["X-Request-ID"]
        assert (await client.get("/readyz")).status_code == 200
        assert (await client.post("/v1/classify", content=PICTURE)).status_code == 200


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (raw(bytes(LIMIT + 1)), "200,000 bytes"),
        (raw(huge_png()), "50,000,000"),
        (raw(HEIC), "HEIC"),
        (raw(PICTURE, "application/x-www-form-urlencoded"), "-H 'Content-Type: image/jpeg'"),
        (raw(PICTURE, params={"model": "nosuch"}), "colours@2, colours@1, far@1, tones@1"),
        (raw(PICTURE, params={"top_k": 0}), "top_k"),
        ({"json": {"image": base64.b64encode(b"hello").decode()}}, "JPEG, PNG, WebP"),
    ],
    ids=["bytes", "pixels", "HEIC", "form type", "models", "parameter", "formats"],
)
async def test_details_say_what_to_do(serve: Serve, request_: dict[str, Any], words: str) -> None:
    async with serve(max_body_bytes=LIMIT) as client:
        assert words in (await client.post("/v1/classify", **request_)).json()["detail"]


async def test_a_bomb_is_small_and_refused_before_it_is_decoded(client: httpx.AsyncClient) -> None:
    bomb = huge_png()
    assert len(bomb) < 15_000
    began = time.process_time()
    assert (await client.post("/v1/classify", content=bomb)).status_code == 413
    assert time.process_time() - began < 0.2


async def test_a_body_that_is_announced_too_large_is_not_read(serve: Serve) -> None:
    async def never() -> Any:
        raise AssertionError("the body was read")
        yield b""

    async with serve(max_body_bytes=LIMIT) as client:
        response = await client.post(
            "/v1/classify", content=never(), headers={"Content-Length": str(LIMIT + 1), "Content-Type": "image/png"}
        )
    assert response.status_code == 413


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/v1/classify", 405, "method_not_allowed"),
        ("GET", "/v1/models/nosuch", 404, "model_not_found"),
        ("GET", "/v1/models/colours?version=0", 422, "bad_parameter"),
        ("GET", "/static/nowhere.css", 404, "not_found"),
    ],
)
async def test_other_addresses_answer_with_problems_too(
    client: httpx.AsyncClient, method: str, path: str, status: int, code: str
) -> None:
    response = await client.request(method, path)
    assert response.headers["Content-Type"] == "application/problem+json"
    assert (response.status_code, response.json()["code"]) == (status, code)


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/v1/classify", "POST"),
        ("/predictions/colours", "POST, PUT"),
        ("/predictions/colours/1", "POST, PUT"),
        ("/livez", "GET, HEAD"),
        ("/v2", "GET"),
        ("/static/page.css", "GET, HEAD"),
    ],
)
async def test_405_names_every_method_that_is_allowed(client: httpx.AsyncClient, path: str, methods: str) -> None:
    response = await client.options(path)
    assert (response.status_code, response.headers["Allow"]) == (405, methods)
