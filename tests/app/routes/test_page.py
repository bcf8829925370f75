"""The page, its errors, and the model cards."""

from __future__ import annotations

import base64
import re
from io import BytesIO

import httpx
import pytest
from PIL import Image

from app.page import markdown
from tests.support.asgi import Serve
from tests.support.colour_engine import ColourEngine
from tests.support.encoded_images import TRUNCATED_HEIC, encoded
from tests.support.html import Elements

pytestmark = pytest.mark.anyio


def model_choices(page: Elements) -> list[str | None]:
    return [box["value"] for box in page.all("input") if box["type"] == "checkbox"]


def selected_models(page: Elements) -> list[str | None]:
    return [box["value"] for box in page.all("input") if box["type"] == "checkbox" and "checked" in box]


async def upload(client: httpx.AsyncClient, image: bytes, **fields: str) -> httpx.Response:
    return await client.post("/", files={"file": ("photo", image)}, data=fields)


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
    assert model_choices(page) == ["colours@2", "far@1", "tones@1", "colours@1"]
    assert selected_models(page) == ["colours@2"]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
async def test_upload_shows_the_image_and_five_classes(client: httpx.AsyncClient, kind: str) -> None:
    response = await upload(client, encoded("yellow", kind, (1200, 900)), model="tones@1")
    assert response.status_code == 200
    page = Elements(response.text)
    assert len(page.all("meter")) == 5
    (source,) = [str(img["src"]) for img in page.all("img") if str(img.get("src")).startswith("data:")]
    thumbnail = Image.open(BytesIO(base64.b64decode(source.removeprefix("data:image/jpeg;base64,"))))
    assert (thumbnail.format, thumbnail.size) == ("JPEG", (480, 360))
    assert "Most likely: yellow" in response.text
    assert len(re.findall(r"\d+\.\d %", response.text)) == 5
    assert "tones, version 1</a> (6 classes)" in response.text
    assert selected_models(page) == ["tones@1"]


async def test_page_shows_the_predictions_of_the_api(client: httpx.AsyncClient) -> None:
    image = encoded("green")
    result = (await client.post("/v1/classify", content=image)).json()
    page = Elements((await upload(client, image)).text)
    for meter, prediction in zip(page.all("meter"), result["predictions"], strict=True):
        assert meter["aria-label"] == prediction["label"]
        assert float(str(meter["value"])) == pytest.approx(prediction["score"], abs=1e-4)


@pytest.mark.parametrize(
    ("image", "fields", "status", "detail"),
    [
        (b"", {}, 400, "The image is empty"),
        (b"hello", {}, 415, "JPEG, PNG"),
        (TRUNCATED_HEIC, {}, 422, "This HEIC image cannot be decoded"),
        (encoded()[:200], {}, 422, "cannot be decoded"),
        (bytes(300_000), {}, 413, "200,000 bytes"),
        (encoded(), {"model": "<b>x</b>"}, 404, "There is no model &lt;b&gt;x&lt;/b&gt;"),
    ],
    ids=["empty", "text", "HEIC", "truncated", "too large", "unknown model"],
)
async def test_errors_are_explained_on_the_page(
    serve: Serve, image: bytes, fields: dict[str, str], status: int, detail: str
) -> None:
    async with serve(max_body_bytes=200_000) as client:
        response = await upload(client, image, **fields)
    assert response.status_code == status
    assert response.headers["Content-Type"].startswith("text/html")
    assert detail in response.text
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


async def test_style_sheets_load_nothing_else(client: httpx.AsyncClient) -> None:
    for path in ("/static/vendor/simple.min.css", "/static/page.css"):
        css = (await client.get(path)).text
        assert "@import" not in css
        assert not re.search(r"url\((?!['\"]?data:)", css)


async def test_favicon_ico_is_the_svg_icon(client: httpx.AsyncClient) -> None:
    response = await client.get("/favicon.ico")
    assert (response.status_code, response.headers["Content-Type"]) == (200, "image/svg+xml")


async def test_card_is_rendered_as_a_page(client: httpx.AsyncClient) -> None:
    response = await client.get("/cards/tones/1")
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/html")
    assert "<h1>tones</h1>" in response.text
    assert "<p>Names colours.</p>" in response.text


@pytest.mark.parametrize(("path", "status"), [("none/1", 404), ("tones/9", 404), ("tones/x", 422), ("tones/0", 422)])
async def test_missing_card_is_a_problem(client: httpx.AsyncClient, path: str, status: int) -> None:
    response = await client.get(f"/cards/{path}")
    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/problem+json"


def test_html_in_a_card_is_escaped() -> None:
    html = markdown("# <script>alert(1)</script>\n\n[x](javascript:alert(1)) <img src=x onerror=alert(1)>")
    assert "<script" not in html
    assert "<img" not in html
    assert 'href="javascript' not in html


def test_markdown_tables_are_rendered() -> None:
    assert "<td>71.4 %</td>" in markdown("| class | accuracy |\n|---|---|\n| cat | 71.4 % |")
