"""The page in Chromium when the server is busy, gone, or the file is too large."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Route, expect

from tests.support.browser import Visit, chromium, needs_chromium, picture, visiting
from tests.support.processes import free_port, get, server

__all__ = ["chromium"]  # a fixture

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def tiny_address(tiny_store: Path) -> Iterator[str]:
    with server("tests.support.tiny_server", APP_STORE=str(tiny_store)) as started:
        yield started.address()


def test_a_busy_server_is_asked_again_until_it_answers(chromium: Browser, tiny_store: Path) -> None:
    settings = {"APP_STORE": str(tiny_store), "APP_QUEUE_SIZE": "1", "TINY_DELAY_S": "0.4"}
    with (
        server("tests.support.tiny_server", **settings) as started,
        visiting(chromium, started.address(), expected="status of 503") as visit,
    ):
        visit.choose(*[picture(f"{number}.png") for number in range(5)])
        expect(visit.page.get_by_text("The server is busy; trying again in").first).to_be_visible()
        expect(visit.page.locator("#status")).to_contain_text("will be asked again")
        visit.check_accessible()
        visit.finished(5)
        expect(visit.page.get_by_text("Most likely: blue")).to_have_count(5)


def test_a_server_that_goes_in_mid_upload_is_told_and_can_be_tried_again(chromium: Browser, tiny_store: Path) -> None:
    with server("tests.support.tiny_server", APP_STORE=str(tiny_store)) as first:
        address = first.address()
        with visiting(chromium, address, expected="net::ERR_") as visit:
            network = visit.page.context.new_cdp_session(visit.page)
            slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 20_000}
            network.send("Network.emulateNetworkConditions", slow)
            file = picture("large.png", size=(500, 500))
            visit.choose(file)
            bar = visit.page.get_by_role("progressbar", name="Upload of large.png")
            expect(bar).to_be_visible()
            expect(bar).not_to_have_js_property("value", 0)
            first.process.kill()
            expect(visit.page.get_by_text("The server cannot be reached")).to_be_visible()
            visit.finished(0, failed=1)
            visit.check_accessible()

            network.send("Network.emulateNetworkConditions", {**slow, "uploadThroughput": -1})
            port = address.rpartition(":")[2]
            with server("tests.support.tiny_server", APP_STORE=str(tiny_store), APP_PORT=port) as second:
                second.address()
                visit.page.get_by_role("button", name="Try again").click()
                expect(visit.page.get_by_role("button", name="Remove large.png")).to_be_focused()
                visit.finished(1)
                expect(visit.page.get_by_text("Most likely: blue")).to_be_visible()


def test_a_file_over_the_limit_is_told_without_sending_it(chromium: Browser, tiny_store: Path) -> None:
    with (
        server("tests.support.tiny_server", APP_STORE=str(tiny_store), APP_MAX_BODY_BYTES="100000") as started,
        visiting(chromium, started.address()) as visit,
    ):
        sent = []
        visit.page.on("request", lambda request: sent.append(request) if request.method == "POST" else None)
        visit.choose({"name": "large.jpg", "mimeType": "image/jpeg", "buffer": os.urandom(250_000)})
        expect(visit.item("large.jpg")).to_contain_text("This file has 0.3 MB; the limit is 0.1 MB.")
        assert sent == []


def test_removing_a_picture_takes_back_its_request(chromium: Browser, tiny_store: Path) -> None:
    with (
        server("tests.support.tiny_server", APP_STORE=str(tiny_store), TINY_DELAY_S="3") as started,
        visiting(chromium, started.address()) as visit,
    ):
        visit.choose(picture("one.png"), picture("two.png"), picture("three.png"))
        expect(visit.page.get_by_text("Being classified").first).to_be_visible()
        visit.page.get_by_role("button", name="Remove two.png").click()
        visit.finished(2)
        metrics = get(visit.address, "/metrics").body.decode()
    assert "classifier_requests_cancelled_total 1.0" in metrics, (
        "the server still worked for a picture that was removed"
    )


def test_a_fault_of_the_server_is_told_with_the_number_to_ask_for(chromium: Browser, tiny_store: Path) -> None:
    with (
        server("tests.support.tiny_server", APP_STORE=str(tiny_store), TINY_FAILS="1") as started,
        visiting(chromium, started.address(), expected="status of 500") as visit,
    ):
        with visit.page.expect_response("**/v1/classify*") as answer:
            visit.choose(picture())
        number = answer.value.headers["x-request-id"]
        expect(visit.item("photo.png")).to_contain_text(f"It has been logged as {number}.")


@pytest.mark.parametrize("script", [True, False])
def test_while_the_models_are_loaded_the_page_says_so_and_comes_back(
    chromium: Browser, tiny_store: Path, script: bool
) -> None:
    port = str(free_port())
    with server("tests.support.tiny_server", APP_STORE=str(tiny_store), APP_PORT=port, TINY_LOAD_S="3") as started:
        started.wait_for_log("Loading the models")
        page = chromium.new_context(java_script_enabled=script).new_page()
        page.goto(f"http://127.0.0.1:{port}")
        expect(page.get_by_role("status")).to_contain_text("being loaded")
        if script:
            Visit(page, page.url).check_accessible()
        expect(page.get_by_role("group", name="Models")).to_be_visible(timeout=20_000)
        page.context.close()


@pytest.mark.parametrize(
    ("status", "headers", "body", "words"),
    [
        (413, {}, "<h1>nginx</h1>", "This picture is too large for the server"),
        (502, {}, "<h1>nginx</h1>", "cannot be reached by what stands before it"),
        (504, {}, "<h1>nginx</h1>", "The answer took too long"),
        (418, {}, "", "The server answered with status 418"),
        (503, {"Retry-After": "Sat, 01 Jan 2090 00:00:00 GMT"}, '{"message": "no"}', "trying again in 60 s"),
        (503, {"Retry-After": "7"}, '{"code": "not_ready"}', "The server is starting; trying again in 7 s"),
        (429, {"Retry-After": "3600"}, "", "The server is busy; trying again in 60 s"),
    ],
)
def test_what_a_proxy_answers_is_told_too(
    chromium: Browser, tiny_address: str, status: int, headers: dict[str, str], body: str, words: str
) -> None:
    with visiting(chromium, tiny_address, expected=f"status of {status}") as visit:
        visit.page.route("**/v1/classify*", lambda route: route.fulfill(status=status, headers=headers, body=body))
        visit.choose(picture())
        expect(visit.item("photo.png")).to_contain_text(words)


def test_while_the_server_is_busy_the_others_are_not_sent(chromium: Browser, tiny_address: str) -> None:
    with visiting(chromium, tiny_address, expected="status of 503") as visit:
        sent: list[Route] = []

        def refuse(route: Route) -> None:
            sent.append(route)
            route.fulfill(status=503, headers={"Retry-After": "30"})

        visit.page.route("**/v1/classify*", refuse)
        visit.choose(*[picture(f"{number}.png") for number in range(12)])
        expect(visit.page.get_by_text("The server is busy; trying again in")).to_have_count(12)
        assert len(sent) <= 4


def test_what_failed_can_be_tried_again_at_once(chromium: Browser, tiny_address: str) -> None:
    with visiting(chromium, tiny_address, expected="Failed to load resource") as visit:
        visit.page.route("**/v1/classify*", lambda route: route.abort())
        visit.choose(picture("one.png"), picture("two.png"))
        visit.finished(0, failed=2)
        visit.page.unroute("**/v1/classify*")
        visit.page.get_by_role("button", name="Try what failed again").click()
        visit.finished(2)
        expect(visit.page.get_by_role("button", name="Try what failed again")).to_be_hidden()


def test_an_example_that_cannot_be_fetched_is_told(chromium: Browser, tiny_address: str) -> None:
    with visiting(chromium, tiny_address, expected="Failed to load resource") as visit:
        visit.page.route("**/examples/*", lambda route: route.fulfill(status=503))
        visit.page.get_by_role("button", name="cat").click()
        expect(visit.page.get_by_role("alert")).to_contain_text("The example cannot be fetched")
