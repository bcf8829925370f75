from __future__ import annotations

import base64
import re
from io import BytesIO

import httpx
import pytest
from PIL import Image

from tests.support.asgi import Serve
from tests.support.colour_engine import ColourEngine
from tests.support.encoded_images import HEIC, encoded
from tests.support.html import Elements

pytestmark = pytest.mark.anyio


def _choices(page: Elements) -> list[str | None]:
    return [box["value"] for box in page.all("input") if box["type"] == "checkbox"]


def _chosen(page: Elements) -> list[str | None]:
    return [box["value"] for box in page.all("input") if box["type"] == "checkbox" and "checked" in box]


async def upload(client: httpx.AsyncClient, picture: bytes, **fields: str) -> httpx.Response:
    return await client.post("/", files={"file": ("photo", picture)}, data=fields)


async def test_form_has_no_inline_scripts_or_foreign_resources(client: httpx.AsyncClient) -> None:
    response = await client.get("/")
    assert response.status_code == 200
    page = Elements(response.text)
    assert [(script["type"], script["src"]) for script in page.all("script")] == [("module", "/static/js/main.js")]
    assert not [attributes for _, attributes in page.elements if any(name.startswith("on") for name in attributes)]
    assert not [attributes for _, attributes in page.elements if "style" in attributes]
    for link in page.all("link"):
        href = str(link["href"])
        assert href.startswith("/static/")
        assert (await client.get(href)).status_code == 200
    (form,) = page.all("form")
    assert (form["method"], form["enctype"], form["action"]) == ("post", "multipart/form-data", "/")
    assert _choices(page) == ["colours@2", "far@1", "tones@1", "colours@1"]
    assert _chosen(page) == ["colours@2"]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
async def test_upload_shows_the_image_and_five_classes(client: httpx.AsyncClient, kind: str) -> None:
    response = await upload(client, encoded("yellow", kind, (1200, 900)), model="tones@1")
    assert response.status_code == 200
    page = Elements(response.text)
    assert len(page.all("meter")) == 5
    (picture,) = [image for image in page.all("img") if str(image.get("src")).startswith("data:")]
    shown = Image.open(BytesIO(base64.b64decode(str(picture["src"]).removeprefix("data:image/jpeg;base64,"))))
    assert (shown.format, shown.size) == ("JPEG", (480, 360))
    assert "Most likely: yellow" in response.text
    assert len(re.findall(r"\d+\.\d %", response.text)) == 5
    assert "tones, version 1</a> (6 classes)" in response.text
    assert _chosen(page) == ["tones@1"]


async def test_the_page_and_the_api_agree(client: httpx.AsyncClient) -> None:
    picture = encoded("green")
    answer = (await client.post("/v1/classify", content=picture)).json()
    page = Elements((await upload(client, picture)).text)
    for meter, prediction in zip(page.all("meter"), answer["predictions"], strict=True):
        assert meter["aria-label"] == prediction["label"]
        assert float(str(meter["value"])) == pytest.approx(prediction["score"], abs=1e-4)


@pytest.mark.parametrize(
    ("picture", "fields", "status", "words"),
    [
        (b"", {}, 400, "The image is empty"),
        (b"hello", {}, 415, "JPEG, PNG"),
        (HEIC, {}, 415, "HEIC images are not supported"),
        (encoded()[:200], {}, 422, "cannot be decoded"),
        (bytes(300_000), {}, 413, "200,000 bytes"),
        (encoded(), {"model": "<b>x</b>"}, 404, "There is no model &lt;b&gt;x&lt;/b&gt;"),
    ],
    ids=["empty", "text", "HEIC", "truncated", "too large", "unknown model"],
)
async def test_errors_are_explained_on_the_page(
    serve: Serve, picture: bytes, fields: dict[str, str], status: int, words: str
) -> None:
    async with serve(max_body_bytes=200_000) as client:
        response = await upload(client, picture, **fields)
    assert response.status_code == status
    assert response.headers["Content-Type"].startswith("text/html")
    assert words in response.text
    assert "That did not work" in response.text
    assert len(Elements(response.text).all("form")) == 1


async def test_internal_error_leaks_no_details_on_the_page(serve: Serve, engine: ColourEngine) -> None:
    async with serve() as client:
        engine.broken = True
        response = await upload(client, encoded())
        assert response.status_code == 500
        assert "ZeroDivision" not in response.text
        assert "That did not work" in response.text


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_page_refers_to_no_other_origin(client: httpx.AsyncClient, path: str) -> None:
    page = Elements((await client.get(path)).text)
    for _, attributes in page.elements:
        for name in ("src", "href", "action", "data-openapi"):
            address = attributes.get(name)
            if address and not address.startswith("#"):
                assert address.startswith("/")
                assert (await client.get(address)).status_code == 200


async def test_docs_have_no_inline_script_or_style(client: httpx.AsyncClient) -> None:
    html = (await client.get("/docs")).text
    page = Elements(html)
    assert all("src" in script for script in page.all("script"))
    assert page.all("style") == []
    assert "cdn" not in html


async def test_style_sheets_load_nothing_else(client: httpx.AsyncClient) -> None:
    for path in ("/static/vendor/simple.min.css", "/static/page.css"):
        css = (await client.get(path)).text
        assert "@import" not in css
        assert not re.search(r"url\((?!['\"]?data:)", css)


async def test_favicon_ico_redirects_to_the_svg_icon(client: httpx.AsyncClient) -> None:
    response = await client.get("/favicon.ico", follow_redirects=True)
    assert (response.status_code, response.headers["Content-Type"]) == (200, "image/svg+xml")
