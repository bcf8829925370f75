"""The page with a classifier that has coarser classes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, FilePayload, expect

from tests.support import coarser_colours
from tests.support.browser import Visit, image_file, needs_chromium, visit_page
from tests.support.processes import server

pytestmark = needs_chromium

ORANGE: FilePayload = {"name": "orange.png", "mimeType": "image/png", "buffer": coarser_colours.ORANGE}


@pytest.fixture(scope="module")
def shades_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("shades")
    coarser_colours.build(root)
    with server("tests.support.tiny_server", APP_STORE=str(root), APP_DEFAULT_MODEL="shades") as process:
        yield process.address()


def set_threshold(visit: Visit, percent: int) -> None:
    visit.page.get_by_label("Show “not sure” below").fill(str(percent))


def test_coarser_class_leads_and_follows_the_threshold(chromium: Browser, shades_address: str) -> None:
    with visit_page(chromium, shades_address, viewport={"width": 390, "height": 844}) as visit:
        visit.page.get_by_text("Options for all images").evaluate("each => each.parentElement.open = true")
        visit.choose(ORANGE)
        visit.wait_until_finished(1)
        item = visit.item("orange.png")
        expect(item.get_by_text("Most likely: warm")).to_be_visible()
        assert item.get_by_role("rowheader").all_text_contents()[0] == "warm"
        expect(item.get_by_role("meter")).to_have_count(6)
        visit.check_width()
        visit.check_accessible()
        set_threshold(visit, 40)
        expect(item.get_by_text("Most likely: yellow")).to_be_visible()
        expect(item.get_by_role("meter")).to_have_count(5)
        set_threshold(visit, 100)
        expect(item.get_by_text("Not sure, perhaps: yellow")).to_be_visible()


def test_history_has_the_label_that_leads(chromium: Browser, shades_address: str) -> None:
    with visit_page(chromium, shades_address) as visit:
        visit.choose(ORANGE, image_file("blue.png", "blue"))
        visit.wait_until_finished(2)
        visit.page.get_by_text("History", exact=True).click()
        entries = visit.page.locator("#history-items li")
        expect(entries).to_have_count(2)
        assert {text.partition(":")[2].split()[0] for text in entries.all_text_contents()} == {"warm", "blue"}


def test_without_javascript_the_coarser_class_leads(chromium: Browser, shades_address: str) -> None:
    with visit_page(chromium, shades_address, java_script_enabled=False) as visit:
        visit.choose(ORANGE)
        visit.page.get_by_role("button", name="Classify").click()
        expect(visit.page.get_by_role("heading", name="Most likely: warm")).to_be_focused()
        expect(visit.page.get_by_role("meter")).to_have_count(6)
