"""Visits of the page with Chromium, which fail on requests to other origins and on console errors."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, FilePayload, Page, expect, sync_playwright

from tests.support.encoded_images import encoded

#: The headless shell, which Playwright also uses by default, needs half of the CPU time of the whole browser.
CHROMIUM = shutil.which("chromium-headless-shell") or shutil.which("chromium")

needs_chromium = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed"),
]

_AXE = Path(__file__).parent / "vendor" / "axe.min.js"
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--host-resolver-rules=MAP *.example 127.0.0.1",
]


@contextmanager
def running_chromium() -> Iterator[Browser]:
    """Run Chromium; meanwhile no other test of this process can have an event loop, because Playwright runs one."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@dataclass
class Visit:
    """A page with the requests to other origins and the console errors it caused."""

    page: Page
    address: str
    foreign_requests: list[str] = field(default_factory=list)
    console_errors: list[str] = field(default_factory=list)

    def watch(self) -> None:
        self.page.on("request", lambda request: self._note(request.url))
        self.page.on(
            "console", lambda message: self.console_errors.append(message.text) if message.type == "error" else None
        )
        self.page.on("pageerror", lambda error: self.console_errors.append(str(error)))

    def _note(self, url: str) -> None:
        if not url.startswith(("data:", "blob:")) and urlsplit(url).netloc != urlsplit(self.address).netloc:
            self.foreign_requests.append(url)

    def wait_for_scripts(self) -> None:
        """Wait until the scripts have enhanced the form."""
        expect(self.page.get_by_role("button", name="Use the camera")).to_be_visible()

    def choose(self, *files: FilePayload) -> None:
        """Choose files in the file dialog."""
        self.page.locator("#file").set_input_files(list(files))

    def drop(self, *files: FilePayload) -> None:
        """Drop files onto the page."""
        for kind in ("dragenter", "dragover", "drop"):
            self._fire(kind, "dataTransfer", files)

    def paste(self, *files: FilePayload) -> None:
        """Paste files from the clipboard."""
        self._fire("paste", "clipboardData", files)

    def _fire(self, kind: str, holder: str, files: tuple[FilePayload, ...]) -> None:
        described = [{"name": file["name"], "type": file["mimeType"], "bytes": list(file["buffer"])} for file in files]
        self.page.evaluate(
            """([kind, holder, files]) => {
                const data = new DataTransfer();
                for (const {name, type, bytes} of files)
                    data.items.add(new File([new Uint8Array(bytes)], name, {type}));
                const Kind = kind === "paste" ? ClipboardEvent : DragEvent;
                document.body.dispatchEvent(new Kind(kind, {[holder]: data, bubbles: true, cancelable: true}));
            }""",
            [kind, holder, described],
        )

    def item(self, name: str) -> Any:
        """Return the list item of a file."""
        return self.page.get_by_role("listitem").filter(has=self.page.get_by_role("heading", name=name, exact=True))

    def wait_until_finished(self, classified: int, failed: int = 0) -> None:
        """Wait until the status reports that all images are finished and all thumbnails are loaded."""
        count = classified + failed
        parts = [f"{classified} classified", *([f"{failed} failed"] if failed else [])]
        status = f"{count} image{'s' if count > 1 else ''}: {', '.join(parts)}."
        expect(self.page.locator("#status")).to_have_text(status, timeout=60_000)
        expect(self.page.locator("#items .thumbnail:not(.none) img:not([src])")).to_have_count(0)

    def check_accessible(self) -> None:
        """Check the page in its current state with axe, once its style sheets are loaded."""
        self.page.wait_for_load_state("load")
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(_AXE.read_text())
        result = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        violations = [
            f"{violation['id']}: {violation['help']}: {[node['html'] for node in violation['nodes']]}"
            for violation in result["violations"]
        ]
        assert violations == []

    def check_width(self) -> None:
        """Check that the page does not scroll horizontally."""
        assert self.page.evaluate("document.documentElement.scrollWidth") <= self.page.viewport_size["width"]  # type: ignore[index]


@contextmanager
def visit_page(
    chromium: Browser, address: str, *, expected: str = "", own_scripts: bool = True, **options: Any
) -> Iterator[Visit]:
    """Open the page; fail on requests to other origins and on console errors other than the expected one.

    With `own_scripts=False` the page is as without JavaScript, but tests can still run scripts such as axe.
    """
    context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
    visit = Visit(context.new_page(), address)
    visit.watch()
    visit.page.set_default_timeout(20_000)
    if not own_scripts:
        visit.page.route("**/main.js", lambda route: route.fulfill(body="", content_type="text/javascript"))
    visit.page.goto(address)
    if own_scripts and options.get("java_script_enabled", True):
        visit.wait_for_scripts()
    try:
        yield visit
    finally:
        context.close()
    assert visit.foreign_requests == []
    assert [text for text in visit.console_errors if not expected or expected not in text] == []


def image_file(name: str = "photo.png", colour: str = "blue", size: tuple[int, int] = (64, 48)) -> FilePayload:
    """Return an image of one colour, which the colour classifiers recognize."""
    kind = {"jpg": "JPEG", "tif": "TIFF"}.get(name[-3:], "PNG")
    return {"name": name, "mimeType": f"image/{kind.lower()}", "buffer": encoded(colour, kind, size)}


def broken_file(name: str = "broken.jpg") -> FilePayload:
    """Return a file that only starts like a JPEG."""
    return {"name": name, "mimeType": "image/jpeg", "buffer": b"\xff\xd8\xff hello"}
