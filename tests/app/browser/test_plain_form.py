"""The page in Chromium without JavaScript, and /docs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser import broken, chromium, needs_chromium, picture, visiting
from tests.support.processes import server

__all__ = ["chromium"]  # a fixture

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def address(tiny_store: Path) -> Iterator[str]:
    with server("tests.support.tiny_server", APP_STORE=str(tiny_store)) as started:
        yield started.address()


def test_an_upload_shows_the_picture_and_five_bars(chromium: Browser, address: str) -> None:
    with visiting(chromium, address, java_script_enabled=False) as visit:
        visit.choose(picture("photo.tif", size=(900, 600)))
        visit.page.get_by_label("colours, version 2", exact=True).uncheck()
        visit.page.get_by_label("tones, version 1", exact=True).check()
        visit.page.get_by_role("button", name="Classify").click()
        expect(visit.page.get_by_role("heading", name="Most likely: blue")).to_be_focused()
        expect(visit.page.get_by_role("meter")).to_have_count(5)
        shown = visit.page.get_by_role("img", name="The picture that you sent")
        expect(shown).to_be_visible()
        box = shown.bounding_box()
        assert box is not None
        assert box["width"] > 150
        assert box["width"] / box["height"] == pytest.approx(1.5, abs=0.02)


def test_several_models_answer_and_stay_chosen(chromium: Browser, address: str) -> None:
    with visiting(chromium, address, java_script_enabled=False) as visit:
        visit.page.get_by_text("Older versions").click()
        for name in ("colours, version 1", "far, version 1"):
            visit.page.get_by_label(name, exact=True).check()
        visit.choose(picture())
        visit.page.get_by_role("button", name="Classify").click()
        expect(visit.page.get_by_role("table")).to_have_count(3)
        chosen = visit.page.locator("input[type=checkbox]:checked")
        assert chosen.evaluate_all("all => all.map((each) => each.value)") == ["colours@2", "far@1", "colours@1"]


def test_a_problem_is_told(chromium: Browser, address: str) -> None:
    with visiting(chromium, address, java_script_enabled=False, expected="status of 422") as visit:
        visit.page.get_by_label("tones, version 1", exact=True).check()
        visit.choose(broken())
        with visit.page.expect_response(lambda response: response.request.method == "POST") as answer:
            visit.page.get_by_role("button", name="Classify").click()
        assert answer.value.status == 422
        expect(visit.page.get_by_role("alert")).to_contain_text("cannot be decoded")
        expect(visit.page.get_by_label("tones, version 1", exact=True)).to_be_checked()


def test_what_needs_scripts_is_not_there(chromium: Browser, address: str) -> None:
    with visiting(chromium, address, java_script_enabled=False) as visit:
        for name in ("Use the camera", "Download as CSV"):
            expect(visit.page.get_by_role("button", name=name)).to_be_hidden()
        expect(visit.page.locator("#examples")).to_be_hidden()


def test_docs_work_offline_and_within_the_policy(chromium: Browser, address: str) -> None:
    with visiting(chromium, address) as visit:
        visit.page.goto(f"{address}/docs")
        expect(visit.page.get_by_text("Say what an image shows", exact=True)).to_be_visible(timeout=20_000)
        visit.page.get_by_text("Say what an image shows", exact=True).click()
        expect(visit.page.get_by_role("button", name="Try it out")).to_be_visible(timeout=20_000)
