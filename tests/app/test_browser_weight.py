"""What the page costs, and how it is for those who do not see it as it was drawn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Response, expect

from tests.app.browser import broken, chromium, needs_chromium, picture, visiting
from tests.app.processes import server

__all__ = ["chromium"]  # a fixture

pytestmark = needs_chromium

_KILOBYTES = 100
_FIRST_PAINT_MS = 500


@pytest.fixture(scope="module")
def address(tiny_store: Path) -> Iterator[str]:
    with server("tests.app.tiny_server", APP_STORE=str(tiny_store)) as started:
        yield started.address()


def test_the_page_is_small_and_comes_at_once(chromium: Browser, address: str) -> None:
    chromium.new_context().new_page().goto(address)  # the first page of a browser waits for the browser
    with visiting(chromium, address) as visit:
        sizes = {}

        def weigh(response: Response) -> None:
            if not response.headers["content-type"].startswith("image/jpeg"):
                parts = response.request.sizes()
                sizes[response.url] = parts["responseHeadersSize"] + parts["responseBodySize"]

        visit.page.on("response", weigh)
        visit.page.reload(wait_until="networkidle")
        assert any("main.js" in url for url in sizes)
        assert any("page.css" in url for url in sizes)
        assert sum(sizes.values()) < _KILOBYTES * 1000
        paint = visit.page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        assert paint < _FIRST_PAINT_MS


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("script", [True, False])
def test_each_state_is_accessible_and_as_wide_as_the_window(
    chromium: Browser, address: str, width: int, scheme: str, script: bool
) -> None:
    size = {"width": width, "height": 800}
    with visiting(
        chromium, address, expected="status of 422", own_scripts=script, viewport=size, color_scheme=scheme
    ) as visit:
        for file in (None, picture(), broken()):
            if file:
                visit.choose(file)
                if not script:
                    visit.page.get_by_role("button", name="Classify").click()
                expect(visit.page.get_by_text("Being classified")).to_have_count(0)
            visit.check_accessible()
            visit.check_width()


def test_nothing_moves_for_people_who_asked_for_that(chromium: Browser, address: str) -> None:
    with visiting(chromium, address, reduced_motion="reduce") as visit:
        visit.choose(picture())
        visit.finished("1 picture done.")
        moving = visit.page.evaluate(
            """() => [...document.querySelectorAll("*")].filter((each) => {
                const {transitionDuration, animationName, scrollBehavior} = getComputedStyle(each);
                return parseFloat(transitionDuration) > 0 || animationName !== "none" || scrollBehavior === "smooth";
            }).map((each) => each.outerHTML.slice(0, 80))"""
        )
        assert moving == []
