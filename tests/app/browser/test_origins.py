"""What browsers send for pages of other origins, and for the page behind a name over plain HTTP.

Chromium resolves every name below `.example` to this machine (tests/support/browser.py). Such an origin is not
trustworthy, so that Chromium sends no Sec-Fetch-Site.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser import image_file, needs_chromium, visit_page
from tests.support.http_servers import Response, http_server
from tests.support.processes import TINY_SERVER, server

pytestmark = needs_chromium

OWN_HOST = "images.example"
IGNORED = "Cross-Origin-Opener-Policy"  # Chromium says that it ignores this header over HTTP


@pytest.fixture(scope="module")
def port(tiny_store: Path) -> Iterator[str]:
    """Return the port of a server that responds for OWN_HOST and localhost."""
    with server(TINY_SERVER, APP_STORE=str(tiny_store), APP_ALLOWED_HOSTS=f"{OWN_HOST},localhost") as process:
        yield process.address().rpartition(":")[2]


def test_plain_form_is_accepted_over_http(chromium: Browser, port: str) -> None:
    with visit_page(chromium, f"http://{OWN_HOST}:{port}", java_script_enabled=False, expected=IGNORED) as visit:
        visit.choose(image_file())
        with visit.page.expect_request(lambda request: request.method == "POST") as request:
            visit.page.get_by_role("button", name="Classify").click()
        expect(visit.page.get_by_role("heading", name="Most likely: blue")).to_be_visible()
        headers = request.value.all_headers()
        assert "sec-fetch-site" not in headers
        assert headers["origin"] == f"http://{OWN_HOST}:{port}"


def test_page_classifies_over_http_and_shows_its_own_address(chromium: Browser, port: str) -> None:
    with visit_page(chromium, f"http://{OWN_HOST}:{port}", expected=IGNORED) as visit:
        visit.choose(image_file())
        visit.wait_until_finished(1)
        expect(visit.page.get_by_text(f"http://{OWN_HOST}:{port}/v1/classify")).to_be_visible()


@pytest.mark.parametrize("host", [OWN_HOST, "localhost"])
def test_form_of_another_origin_is_rejected(chromium: Browser, port: str, host: str) -> None:
    page = f"""<form method="post" action="http://{host}:{port}/" enctype="multipart/form-data">
        <input type="file" name="file"><button>Send</button></form>"""
    with http_server(lambda _: Response(200, page.encode(), {"Content-Type": "text/html"})) as foreign:
        context = chromium.new_context()
        try:
            tab = context.new_page()
            tab.goto(f"http://evil.example:{foreign.port}/")
            tab.locator("input").set_input_files([image_file()])
            with tab.expect_response(lambda response: response.request.method == "POST") as response:
                tab.get_by_role("button", name="Send").click()
            assert response.value.status == 403
            expect(tab.get_by_text("cross_origin")).to_be_visible()
        finally:
            context.close()


def test_rebound_name_cannot_use_the_server(chromium: Browser, port: str) -> None:
    context = chromium.new_context()
    try:
        response = context.new_page().goto(f"http://rebound.example:{port}/")
        assert response is not None
        assert response.status == 421
    finally:
        context.close()
