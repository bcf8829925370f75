"""The page as people meet it: Chromium, without JavaScript."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.app.pictures import encoded
from tests.app.processes import server

CHROMIUM = shutil.which("chromium")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed"),
]

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def address(tiny_store: Path) -> Iterator[str]:
    with server("tests.app.tiny_server", APP_STORE=str(tiny_store)) as started:
        yield started.address()


@contextmanager
def browsing(address: str, *, javascript: bool, width: int = 1000, expected: str = "") -> Iterator[Page]:
    """A page that fails the test when it asks another origin, or the console tells of an error."""
    elsewhere: list[str] = []
    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        context = browser.new_context(
            java_script_enabled=javascript,
            viewport={"width": width, "height": 800},
        )
        page = context.new_page()
        page.on("request", lambda request: elsewhere.append(request.url) if _foreign(request.url, address) else None)
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        yield page
        browser.close()
    assert elsewhere == []
    assert [text for text in complaints if not expected or expected not in text] == []


def _foreign(url: str, address: str) -> bool:
    return not url.startswith("data:") and urlsplit(url).netloc != urlsplit(address).netloc


def test_without_javascript_an_upload_shows_the_picture_and_five_bars(address: str) -> None:
    with browsing(address, javascript=False) as page:
        page.goto(address)
        page.locator("input[type=file]").set_input_files(
            {"name": "photo.tiff", "mimeType": "image/tiff", "buffer": encoded("blue", "TIFF", (900, 600))}
        )
        page.get_by_label("Model").select_option("tones@1")
        page.get_by_role("button", name="Classify").click()
        expect(page.get_by_role("heading", name="Most likely: blue")).to_be_focused()
        expect(page.get_by_role("meter")).to_have_count(5)
        picture = page.get_by_role("img", name="The picture that you sent")
        expect(picture).to_be_visible()
        box = picture.bounding_box()
        assert box is not None
        assert box["width"] > 200
        assert box["width"] / box["height"] == pytest.approx(1.5, abs=0.02)


def test_without_javascript_a_problem_is_told(address: str) -> None:
    with browsing(address, javascript=False, expected="status of 422") as page:
        page.goto(address)
        page.locator("input[type=file]").set_input_files(
            {"name": "photo.jpg", "mimeType": "image/jpeg", "buffer": b"\xff\xd8\xff hello"}
        )
        with page.expect_response(lambda response: response.request.method == "POST") as answer:
            page.get_by_role("button", name="Classify").click()
        assert answer.value.status == 422
        expect(page.get_by_role("alert")).to_contain_text("cannot be decoded")


@pytest.mark.parametrize("width", [320, 1000])
def test_nothing_is_wider_than_the_window(address: str, width: int) -> None:
    with browsing(address, javascript=True, width=width) as page:
        page.goto(address)
        page.locator("input[type=file]").set_input_files(
            {"name": "photo.png", "mimeType": "image/png", "buffer": encoded("blue")}
        )
        page.get_by_role("button", name="Classify").click()
        expect(page.get_by_role("meter")).to_have_count(5)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_docs_work_offline_and_within_the_policy(address: str) -> None:
    with browsing(address, javascript=True) as page:
        page.goto(f"{address}/docs")
        expect(page.get_by_text("Say what an image shows")).to_be_visible(timeout=20_000)
        page.get_by_text("Say what an image shows").click()
        expect(page.get_by_role("button", name="Try it out")).to_be_visible(timeout=20_000)
