"""The page without JavaScript, and the API documentation page."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser import broken_file, image_file, needs_chromium, visit_page

pytestmark = needs_chromium


def test_upload_shows_the_image_and_five_classes(chromium: Browser, address: str) -> None:
    with visit_page(chromium, address, java_script_enabled=False) as visit:
        visit.choose(image_file("photo.tif", size=(900, 600)))
        visit.page.get_by_label("colours, version 2", exact=True).uncheck()
        visit.page.get_by_label("tones, version 1", exact=True).check()
        visit.page.get_by_role("button", name="Classify").click()
        expect(visit.page.get_by_role("heading", name="Most likely: blue")).to_be_focused()
        expect(visit.page.get_by_role("meter")).to_have_count(5)
        shown = visit.page.get_by_role("img", name="Your image")
        expect(shown).to_be_visible()
        box = shown.bounding_box()
        assert box is not None
        assert box["width"] > 150
        assert box["width"] / box["height"] == pytest.approx(1.5, abs=0.02)


def test_selected_models_stay_selected_after_the_upload(chromium: Browser, address: str) -> None:
    with visit_page(chromium, address, java_script_enabled=False) as visit:
        visit.page.get_by_text("Older versions").click()
        for name in ("colours, version 1", "far, version 1"):
            visit.page.get_by_label(name, exact=True).check()
        visit.choose(image_file())
        visit.page.get_by_role("button", name="Classify").click()
        expect(visit.page.get_by_role("table")).to_have_count(3)
        selected = visit.page.locator("input[type=checkbox]:checked")
        assert selected.evaluate_all("all => all.map((each) => each.value)") == ["colours@2", "far@1", "colours@1"]


def test_error_is_shown_on_the_page(chromium: Browser, address: str) -> None:
    with visit_page(chromium, address, java_script_enabled=False, expected="status of 422") as visit:
        visit.page.get_by_label("tones, version 1", exact=True).check()
        visit.choose(broken_file())
        with visit.page.expect_response(lambda response: response.request.method == "POST") as response:
            visit.page.get_by_role("button", name="Classify").click()
        assert response.value.status == 422
        expect(visit.page.get_by_role("alert")).to_contain_text("cannot be decoded")
        expect(visit.page.get_by_label("tones, version 1", exact=True)).to_be_checked()


def test_controls_that_need_javascript_are_hidden(chromium: Browser, address: str) -> None:
    with visit_page(chromium, address, java_script_enabled=False) as visit:
        for name in ("Use the camera", "Download as CSV"):
            expect(visit.page.get_by_role("button", name=name)).to_be_hidden()
        expect(visit.page.locator("#examples")).to_be_hidden()


def test_api_docs_page_makes_no_foreign_requests(chromium: Browser, address: str) -> None:
    with visit_page(chromium, address) as visit:
        visit.page.goto(f"{address}/docs")
        expect(visit.page.get_by_text("Classify an image", exact=True)).to_be_visible(timeout=20_000)
        visit.page.get_by_text("Classify an image", exact=True).click()
        expect(visit.page.get_by_role("button", name="Try it out")).to_be_visible(timeout=20_000)
