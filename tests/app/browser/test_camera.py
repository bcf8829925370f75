"""The camera in Chromium, which has a fake one that shows a moving picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Request, expect

from tests.support.browser import chromium, needs_chromium, visiting
from tests.support.processes import server

__all__ = ["chromium"]  # a fixture

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def address(tiny_store: Path) -> Iterator[str]:
    with server("tests.support.tiny_server", APP_STORE=str(tiny_store), TINY_DELAY_S="0.02") as started:
        yield started.address()


def test_a_still_is_classified_like_a_file(chromium: Browser, address: str) -> None:
    with visiting(chromium, address) as visit:
        visit.page.get_by_role("button", name="Use the camera").click()
        expect(visit.page.get_by_role("button", name="Take a picture")).to_be_focused()
        visit.page.get_by_role("button", name="Take a picture").click()
        visit.finished(1)
        expect(visit.page.locator("#items .file")).to_contain_text("camera")
        expect(visit.page.locator("#items").get_by_role("meter")).to_have_count(5)
        visit.check_accessible()


def test_live_frames_follow_one_another_and_stop(chromium: Browser, address: str) -> None:
    in_flight, most, asked = 0, 0, 0

    with visiting(chromium, address) as visit:

        def sent(request: Request) -> None:
            nonlocal in_flight, most, asked
            if "/v1/classify" not in request.url:
                return
            in_flight, asked = in_flight + 1, asked + 1
            most = max(most, in_flight)

        def over(request: Request) -> None:
            nonlocal in_flight
            in_flight -= "/v1/classify" in request.url

        visit.page.get_by_role("button", name="Use the camera").click()
        visit.page.on("request", sent)
        visit.page.on("requestfinished", over)
        visit.page.on("requestfailed", over)
        live = visit.page.get_by_role("button", name="Classify live")
        live.click()
        expect(visit.page.locator("#rate")).to_contain_text("pictures a second")
        expect(visit.page.locator("#live-answers").get_by_role("meter")).to_have_count(5)
        visit.check_accessible()
        visit.page.get_by_role("button", name="Stop").click()
        expect(live).to_be_visible()
        expect(visit.page.locator("#rate")).to_be_empty()
        assert asked >= 2
        assert most == 1, "a frame was sent before the answer to the last had come"
        visit.page.wait_for_timeout(300)
        stopped_at = asked
        visit.page.wait_for_timeout(500)
        assert asked == stopped_at
        assert visit.page.locator("#items > li").count() == 0


def test_closing_lets_the_camera_go(chromium: Browser, address: str) -> None:
    with visiting(chromium, address) as visit:
        visit.page.get_by_role("button", name="Use the camera").click()
        expect(visit.page.get_by_role("button", name="Take a picture")).to_be_visible()
        visit.page.evaluate("window.tracks = document.getElementById('video').srcObject.getTracks()")
        visit.page.get_by_role("button", name="Close the camera").click()
        assert visit.page.evaluate("tracks.map((track) => track.readyState)") == ["ended"]
        expect(visit.page.get_by_role("button", name="Use the camera")).to_be_focused()


def test_without_a_camera_the_reason_is_told(chromium: Browser, address: str) -> None:
    with visiting(chromium, address) as visit:
        visit.page.evaluate("Object.defineProperty(navigator, 'mediaDevices', {value: undefined})")
        visit.page.get_by_role("button", name="Use the camera").click()
        expect(visit.page.get_by_text("has to come by https, or from localhost")).to_be_visible()
        expect(visit.page.get_by_role("button", name="Take a picture")).to_be_hidden()
        visit.check_accessible()


_SLOW_CAMERA = """() => {
    window.tracks = [];
    const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    navigator.mediaDevices.getUserMedia = async (wanted) => {
        await new Promise((resolve) => setTimeout(resolve, 300));
        const stream = await ask(wanted);
        tracks.push(...stream.getTracks());
        return stream;
    };
}"""


def test_a_camera_that_was_closed_before_it_came_is_let_go(chromium: Browser, address: str) -> None:
    with visiting(chromium, address) as visit:
        visit.page.evaluate(_SLOW_CAMERA)
        opener = visit.page.get_by_role("button", name="Use the camera")
        opener.click()
        expect(visit.page.get_by_role("button", name="Take a picture")).to_be_hidden()  # there is nothing to take yet
        visit.page.get_by_role("button", name="Close the camera").click()
        opener.click()
        opener.click()  # once more does nothing
        expect(visit.page.get_by_role("button", name="Take a picture")).to_be_visible()
        assert visit.page.evaluate("tracks.map((track) => track.readyState)") == ["ended", "live"]
        visit.page.get_by_role("button", name="Close the camera").click()
        assert visit.page.evaluate("tracks.map((track) => track.readyState)") == ["ended", "ended"]


def test_a_frame_that_is_being_taken_when_the_camera_closes_is_not_sent(chromium: Browser, address: str) -> None:
    with visiting(chromium, address) as visit:
        sent: list[str] = []
        visit.page.on("request", lambda request: sent.append(request.url))
        visit.page.evaluate(
            """() => {
                const take = HTMLCanvasElement.prototype.toBlob;
                HTMLCanvasElement.prototype.toBlob = function (...given) {
                    setTimeout(() => take.apply(this, given), 300);
                };
            }"""
        )
        visit.page.get_by_role("button", name="Use the camera").click()
        visit.page.get_by_role("button", name="Classify live").click()
        visit.page.get_by_role("button", name="Close the camera").click()
        visit.page.wait_for_timeout(600)
        assert not [url for url in sent if "/v1/classify" in url]
        expect(visit.page.locator("#live-answers")).to_be_empty()


def test_a_camera_that_goes_away_ends_the_live_run_and_is_told(chromium: Browser, address: str) -> None:
    with visiting(chromium, address) as visit:
        visit.page.get_by_role("button", name="Use the camera").click()
        visit.page.get_by_role("button", name="Classify live").click()
        expect(visit.page.locator("#live-answers").get_by_role("meter")).to_have_count(5)
        visit.page.evaluate(
            "document.getElementById('video').srcObject.getTracks()[0].dispatchEvent(new Event('ended'))"
        )
        expect(visit.page.get_by_role("alert")).to_contain_text("The camera has stopped")
        expect(visit.page.get_by_role("button", name="Take a picture")).to_be_hidden()
