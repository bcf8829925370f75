"""The page when the server is busy, unreachable or failing, or a file is too large."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Route, expect

from tests.support.browser import Visit, image_file, needs_chromium, visit_page
from tests.support.processes import TINY_SERVER, free_port, get, server

pytestmark = needs_chromium


def test_requests_to_a_busy_server_are_repeated_until_they_succeed(chromium: Browser, tiny_store: Path) -> None:
    settings = {"APP_STORE": str(tiny_store), "APP_QUEUE_SIZE": "1", "TINY_DELAY_S": "0.4"}
    with (
        server(TINY_SERVER, **settings) as started,
        visit_page(chromium, started.address(), expected="status of 503") as visit,
    ):
        visit.choose(*[image_file(f"{number}.png") for number in range(3)])
        expect(visit.page.get_by_text("The server is busy; trying again in").first).to_be_visible()
        expect(visit.page.locator("#status")).to_contain_text("will be sent again")
        visit.check_accessible()
        visit.wait_until_finished(3)
        expect(visit.page.get_by_text("Most likely: blue")).to_have_count(3)


def test_upload_to_a_killed_server_fails_and_can_be_retried(chromium: Browser, tiny_store: Path) -> None:
    with server(TINY_SERVER, APP_STORE=str(tiny_store)) as first:
        address = first.address()
        with visit_page(chromium, address, expected="net::ERR_") as visit:
            network = visit.page.context.new_cdp_session(visit.page)
            slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 20_000}
            network.send("Network.emulateNetworkConditions", slow)
            file = image_file("large.png", size=(500, 500))
            visit.choose(file)
            bar = visit.page.get_by_role("progressbar", name="Upload of large.png")
            expect(bar).to_be_visible()
            expect(bar).not_to_have_js_property("value", 0)
            first.process.kill()
            expect(visit.page.get_by_text("The server cannot be reached")).to_be_visible()
            visit.wait_until_finished(0, failed=1)
            visit.check_accessible()

            network.send("Network.emulateNetworkConditions", {**slow, "uploadThroughput": -1})
            port = address.rpartition(":")[2]
            with server(TINY_SERVER, APP_STORE=str(tiny_store), APP_PORT=port) as second:
                second.address()
                visit.page.get_by_role("button", name="Try again").click()
                expect(visit.page.get_by_role("button", name="Remove large.png")).to_be_focused()
                visit.wait_until_finished(1)
                expect(visit.page.get_by_text("Most likely: blue")).to_be_visible()


def test_file_over_the_size_limit_is_rejected_without_sending_it(chromium: Browser, tiny_store: Path) -> None:
    with (
        server(TINY_SERVER, APP_STORE=str(tiny_store), APP_MAX_BODY_BYTES="100000") as started,
        visit_page(chromium, started.address()) as visit,
    ):
        sent = []
        visit.page.on("request", lambda request: sent.append(request) if request.method == "POST" else None)
        visit.choose({"name": "large.jpg", "mimeType": "image/jpeg", "buffer": os.urandom(250_000)})
        expect(visit.item("large.jpg")).to_contain_text("This file has 0.3 MB; the limit is 0.1 MB.")
        assert sent == []


def test_removing_an_image_cancels_its_request(chromium: Browser, tiny_store: Path) -> None:
    with (
        server(TINY_SERVER, APP_STORE=str(tiny_store), TINY_DELAY_S="1.5") as started,
        visit_page(chromium, started.address()) as visit,
    ):
        visit.choose(image_file("one.png"), image_file("two.png"), image_file("three.png"))
        expect(visit.page.get_by_text("Classifying").first).to_be_visible()
        visit.page.get_by_role("button", name="Remove two.png").click()
        visit.wait_until_finished(2)
        metrics = get(visit.address, "/metrics").body.decode()
    assert "classifier_requests_cancelled_total 1.0" in metrics, "the server still classified the removed image"


def test_internal_server_error_shows_the_request_id(chromium: Browser, tiny_store: Path) -> None:
    with (
        server(TINY_SERVER, APP_STORE=str(tiny_store), TINY_FAILS="1") as started,
        visit_page(chromium, started.address(), expected="status of 500") as visit,
    ):
        with visit.page.expect_response("**/v1/classify*") as response:
            visit.choose(image_file())
        request_id = response.value.headers["x-request-id"]
        expect(visit.item("photo.png")).to_contain_text(f"under request ID {request_id}.")


@pytest.mark.parametrize("script", [True, False])
def test_page_reloads_once_the_models_are_loaded(chromium: Browser, tiny_store: Path, script: bool) -> None:
    port = str(free_port())
    with server(TINY_SERVER, APP_STORE=str(tiny_store), APP_PORT=port, TINY_LOAD_S="2") as started:
        started.wait_for_log("Loading the models")
        page = chromium.new_context(java_script_enabled=script).new_page()
        page.goto(f"http://127.0.0.1:{port}")
        expect(page.get_by_role("status")).to_contain_text("models are loading")
        if script:
            Visit(page, page.url).check_accessible()
        expect(page.get_by_role("group", name="Models")).to_be_visible(timeout=20_000)
        page.context.close()


@pytest.mark.parametrize(
    ("status", "headers", "body", "words"),
    [
        (413, {}, "<h1>nginx</h1>", "This image is too large for the server"),
        (502, {}, "<h1>nginx</h1>", "The proxy cannot reach the server"),
        (504, {}, "<h1>nginx</h1>", "The response took too long"),
        (418, {}, "", "The server responded with status 418"),
        (503, {"Retry-After": "Sat, 01 Jan 2090 00:00:00 GMT"}, '{"message": "no"}', "trying again in 60 s"),
        (503, {"Retry-After": "7"}, '{"code": "not_ready"}', "The server is starting; trying again in 7 s"),
        (429, {"Retry-After": "3600"}, "", "The server is busy; trying again in 60 s"),
    ],
)
def test_error_responses_of_a_proxy_are_shown(
    chromium: Browser, tiny_address: str, status: int, headers: dict[str, str], body: str, words: str
) -> None:
    with visit_page(chromium, tiny_address, expected=f"status of {status}") as visit:
        visit.page.route("**/v1/classify*", lambda route: route.fulfill(status=status, headers=headers, body=body))
        visit.choose(image_file())
        expect(visit.item("photo.png")).to_contain_text(words)


def test_no_more_images_are_sent_while_the_server_is_busy(chromium: Browser, tiny_address: str) -> None:
    with visit_page(chromium, tiny_address, expected="status of 503") as visit:
        sent: list[Route] = []

        def reject(route: Route) -> None:
            sent.append(route)
            route.fulfill(status=503, headers={"Retry-After": "30"})

        visit.page.route("**/v1/classify*", reject)
        visit.choose(*[image_file(f"{number}.png") for number in range(12)])
        expect(visit.page.get_by_text("The server is busy; trying again in")).to_have_count(12)
        assert len(sent) <= 4


def test_all_failed_images_can_be_retried(chromium: Browser, tiny_address: str) -> None:
    with visit_page(chromium, tiny_address, expected="Failed to load resource") as visit:
        visit.page.route("**/v1/classify*", lambda route: route.abort())
        visit.choose(image_file("one.png"), image_file("two.png"))
        visit.wait_until_finished(0, failed=2)
        visit.page.unroute("**/v1/classify*")
        visit.page.get_by_role("button", name="Retry failed").click()
        visit.wait_until_finished(2)
        expect(visit.page.get_by_role("button", name="Retry failed")).to_be_hidden()


def test_example_that_cannot_be_loaded_shows_a_message(chromium: Browser, tiny_address: str) -> None:
    with visit_page(chromium, tiny_address, expected="Failed to load resource") as visit:
        visit.page.route("**/examples/*", lambda route: route.fulfill(status=503))
        visit.page.get_by_role("button", name="cat").click()
        expect(visit.page.get_by_role("alert")).to_contain_text("The example could not be loaded")
