"""Forms as clients send them: field names, parts without a file name, transfer encodings, advice in errors."""

from __future__ import annotations

import quopri
from base64 import b64encode, encodebytes
from typing import Any

import httpx
import pytest

from tests.support.asgi import Serve
from tests.support.batch_requests import labels, zipped
from tests.support.encoded_images import encoded

pytestmark = pytest.mark.anyio

IMAGE = encoded("green", "JPEG", (300, 200))
LARGE = IMAGE + bytes(100_000)


def form(*parts: tuple[str, bytes], content_type: str = "multipart/form-data; boundary=b") -> dict[str, Any]:
    """Build a form of parts, each with its header lines."""
    body = b"".join(b"--b\r\n" + head.encode() + b"\r\n\r\n" + data + b"\r\n" for head, data in parts) + b"--b--\r\n"
    return {"content": body, "headers": {"Content-Type": content_type}}


def disposition(name: str, more: str = "") -> str:
    return f'Content-Disposition: form-data; name="{name}"{more}'


@pytest.mark.parametrize("name", ["file", "data", "image", "files", "files[]", "upload", "img", "photo", "ä"])
async def test_only_file_of_a_form_is_classified_whatever_its_field(client: httpx.AsyncClient, name: str) -> None:
    response = await client.post("/v1/classify", files={name: IMAGE})
    assert response.status_code == 200, response.text
    assert labels(await client.post("/v1/classify/batch", files={name: IMAGE})) == ["green"]


@pytest.mark.parametrize("data", [IMAGE, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("content_type", ["image/jpeg", "IMAGE/JPEG", "application/octet-stream"])
async def test_part_without_a_file_name_is_a_file_by_its_type(
    client: httpx.AsyncClient, data: bytes, content_type: str
) -> None:
    request = form((f"{disposition('file')}\r\nContent-Type: {content_type}", data))
    assert (await client.post("/v1/classify", **request)).status_code == 200
    assert labels(await client.post("/v1/classify/batch", **request)) == ["green"]


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("base64", encodebytes(IMAGE)),
        ("BASE64", b64encode(IMAGE)),
        ("quoted-printable", quopri.encodestring(IMAGE)),
        ("binary", IMAGE),
        ("8bit", IMAGE),
    ],
)
async def test_transfer_encoding_of_a_part_is_decoded(client: httpx.AsyncClient, encoding: str, data: bytes) -> None:
    head = f"{disposition('file', '; filename=a.jpg')}\r\nContent-Transfer-Encoding: {encoding}"
    response = await client.post("/v1/classify", **form((head, data)))
    assert response.status_code == 200, response.text
    assert response.json()["predictions"][0]["label"] == "green"


async def test_unknown_transfer_encoding_is_named(client: httpx.AsyncClient) -> None:
    head = f"{disposition('file', '; filename=a.jpg')}\r\nContent-Transfer-Encoding: uuencode"
    response = await client.post("/v1/classify", **form((head, IMAGE)))
    assert response.status_code == 400
    assert "Content-Transfer-Encoding 'uuencode'" in response.json()["detail"]


async def test_unfilled_file_input_beside_a_file_is_ignored(client: httpx.AsyncClient) -> None:
    parts = [(disposition("camera", '; filename=""'), b""), (disposition("file", '; filename="a.jpg"'), IMAGE)]
    assert (await client.post("/v1/classify", **form(*parts))).status_code == 200


@pytest.mark.parametrize("path", ["/v1/classify", "/v1/classify/batch"])
async def test_form_without_boundary_gets_the_advice_not_to_set_the_type(client: httpx.AsyncClient, path: str) -> None:
    request = form((disposition("file", "; filename=a"), IMAGE), content_type="multipart/form-data")
    response = await client.post(path, **request)
    assert response.status_code == 400
    assert "Do not set the Content-Type yourself" in response.json()["detail"]


async def test_long_disposition_is_rejected(client: httpx.AsyncClient) -> None:
    head = disposition("file", '; a=";"' * 500)
    response = await client.post("/v1/classify", **form((head, IMAGE)))
    assert (response.status_code, response.json()["code"]) == (400, "broken_body")
    assert "Content-Disposition is too long" in response.json()["detail"]


async def test_form_without_a_file_names_its_text_fields(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/classify", files={"file": (None, "hello"), "note": (None, "x")})
    assert response.status_code == 422
    assert "The form has no file, but text in 'file', 'note'." in response.json()["detail"]


async def test_form_of_curl_d_gets_the_advice_of_data_binary(client: httpx.AsyncClient) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    response = await client.post("/v1/classify", content=IMAGE, headers=headers)
    assert response.status_code == 415
    assert "--data-binary" in response.json()["detail"]


async def test_zip_without_its_type_gets_the_type_as_advice(client: httpx.AsyncClient) -> None:
    archive, path = zipped(a=IMAGE), "/v1/classify/batch"
    assert (await client.post(path, content=archive, headers={"Content-Type": "application/zip"})).status_code == 200
    response = await client.post(path, content=archive, headers={"Content-Type": "image/jpeg"})
    assert response.status_code == 415
    assert "application/zip" in response.json()["detail"]


async def test_limit_of_bytes_is_that_of_the_image_in_every_form(serve: Serve) -> None:
    limit = 500_000
    image = IMAGE + bytes(limit - len(IMAGE))
    head = f"{disposition('file', '; filename=a.jpg')}\r\nContent-Transfer-Encoding: base64"
    text = encodebytes(image).replace(b"\n", b"\r\n")
    requests: list[dict[str, Any]] = [
        {"content": image},
        {"files": {"file": image}},
        {"json": {"image": text.decode()}},
        form((head, text)),
    ]
    async with serve(max_body_bytes=limit) as client:
        for request in requests:
            assert (await client.post("/v1/classify", **request)).status_code == 200
        for too_large in ({"files": {"file": image + b"\0"}}, {"json": {"image": b64encode(image + b"\0").decode()}}):
            response = await client.post("/v1/classify", **too_large)
            assert (response.status_code, response.json()["code"]) == (413, "image_too_large")
