"""The camera of the page, with the fake camera of Chromium."""

from __future__ import annotations

from playwright.sync_api import Browser, Request, expect

from tests.support.browser import needs_chromium, visit_page

pytestmark = needs_chromium


def test_photo_is_classified_like_a_file(chromium: Browser, address: str) -> None:
    with visit_page(chromium, address) as visit:
        visit.page.get_by_role("button", name="Use the camera").click()
        expect(visit.page.get_by_role("button", name="Take a photo")).to_be_focused()
        visit.page.get_by_role("button", name="Take a photo").click()
        visit.wait_until_finished(1)
        expect(visit.page.locator("#items .file")).to_contain_text("camera")
        expect(visit.page.locator("#items").get_by_role("meter")).to_have_count(5)
        visit.check_accessible()


def test_live_classification_sends_one_frame_at_a_time_until_stopped(chromium: Browser, address: str) -> None:
    in_flight, max_in_flight, requests = 0, 0, 0

    with visit_page(chromium, address) as visit:

        def on_request(request: Request) -> None:
            nonlocal in_flight, max_in_flight, requests
            if "/v1/classify" not in request.url:
                return
            in_flight, requests = in_flight + 1, requests + 1
            max_in_flight = max(max_in_flight, in_flight)

        def on_finished(request: Request) -> None:
            nonlocal in_flight
            in_flight -= "/v1/classify" in request.url

        visit.page.get_by_role("button", name="Use the camera").click()
        visit.page.on("request", on_request)
        visit.page.on("requestfinished", on_finished)
        visit.page.on("requestfailed", on_finished)
        live = visit.page.get_by_role("button", name="Classify live")
        live.click()
        expect(visit.page.locator("#rate")).to_contain_text("images per second")
        expect(visit.page.locator("#live-results").get_by_role("meter")).to_have_count(5)
        visit.check_accessible()
        visit.page.get_by_role("button", name="Stop").click()
        expect(live).to_be_visible()
        expect(visit.page.locator("#rate")).to_be_empty()
        assert requests >= 2
        assert max_in_flight == 1, "a frame was sent before the previous result had arrived"
        visit.page.wait_for_timeout(300)
        requests_when_stopped = requests
        visit.page.wait_for_timeout(500)
        assert requests == requests_when_stopped
        assert visit.page.locator("#items > li").count() == 0


def test_closing_releases_the_camera(chromium: Browser, address: str) -> None:
    with visit_page(chromium, address) as visit:
        visit.page.get_by_role("button", name="Use the camera").click()
        expect(visit.page.get_by_role("button", name="Take a photo")).to_be_visible()
        visit.page.evaluate("window.tracks = document.getElementById('video').srcObject.getTracks()")
        visit.page.get_by_role("button", name="Close the camera").click()
        assert visit.page.evaluate("tracks.map((track) => track.readyState)") == ["ended"]
        expect(visit.page.get_by_role("button", name="Use the camera")).to_be_focused()


def test_missing_camera_support_is_explained(chromium: Browser, address: str) -> None:
    with visit_page(chromium, address) as visit:
        visit.page.evaluate("Object.defineProperty(navigator, 'mediaDevices', {value: undefined})")
        visit.page.get_by_role("button", name="Use the camera").click()
        expect(visit.page.get_by_text("only on pages opened over https or from localhost")).to_be_visible()
        expect(visit.page.get_by_role("button", name="Take a photo")).to_be_hidden()
        visit.check_accessible()


_SLOW_CAMERA = """() => {
    window.tracks = [];
    const getUserMedia = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    navigator.mediaDevices.getUserMedia = async (constraints) => {
        await new Promise((resolve) => setTimeout(resolve, 300));
        const stream = await getUserMedia(constraints);
        tracks.push(...stream.getTracks());
        return stream;
    };
}"""


def test_camera_closed_while_it_opens_is_released(chromium: Browser, address: str) -> None:
    with visit_page(chromium, address) as visit:
        visit.page.evaluate(_SLOW_CAMERA)
        opener = visit.page.get_by_role("button", name="Use the camera")
        opener.click()
        expect(visit.page.get_by_role("button", name="Take a photo")).to_be_hidden()  # the camera is not open yet
        visit.page.get_by_role("button", name="Close the camera").click()
        opener.click()
        opener.click()  # a second click has no effect
        expect(visit.page.get_by_role("button", name="Take a photo")).to_be_visible()
        assert visit.page.evaluate("tracks.map((track) => track.readyState)") == ["ended", "live"]
        visit.page.get_by_role("button", name="Close the camera").click()
        assert visit.page.evaluate("tracks.map((track) => track.readyState)") == ["ended", "ended"]


def test_frame_captured_while_the_camera_closes_is_not_sent(chromium: Browser, address: str) -> None:
    with visit_page(chromium, address) as visit:
        sent: list[str] = []
        visit.page.on("request", lambda request: sent.append(request.url))
        visit.page.evaluate(
            """() => {
                window.captures = [];
                const toBlob = HTMLCanvasElement.prototype.toBlob;
                HTMLCanvasElement.prototype.toBlob = function (...args) {
                    captures.push(() => toBlob.apply(this, args));
                };
            }"""
        )
        visit.page.get_by_role("button", name="Use the camera").click()
        visit.page.get_by_role("button", name="Classify live").click()
        visit.page.wait_for_function("captures.length > 0")
        visit.page.get_by_role("button", name="Close the camera").click()
        visit.page.evaluate("captures.forEach((capture) => capture())")
        visit.page.wait_for_timeout(300)
        assert not [url for url in sent if "/v1/classify" in url]
        expect(visit.page.locator("#live-results")).to_be_empty()


def test_lost_camera_stops_live_classification_with_a_message(chromium: Browser, address: str) -> None:
    with visit_page(chromium, address) as visit:
        visit.page.get_by_role("button", name="Use the camera").click()
        visit.page.get_by_role("button", name="Classify live").click()
        expect(visit.page.locator("#live-results").get_by_role("meter")).to_have_count(5)
        visit.page.evaluate(
            "document.getElementById('video').srcObject.getTracks()[0].dispatchEvent(new Event('ended'))"
        )
        expect(visit.page.get_by_role("alert")).to_contain_text("The camera has stopped")
        expect(visit.page.get_by_role("button", name="Take a photo")).to_be_hidden()
