"""Chromium, and visits with it that must not ask other origins nor fill the console with errors."""

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

CHROMIUM = shutil.which("chromium")

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
]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    # For a module and no longer: while Playwright runs, no other test of this process can have an event loop.
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@dataclass
class Visit:
    """A page, and what went on behind it."""

    page: Page
    address: str
    elsewhere: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def watch(self) -> None:
        self.page.on("request", lambda request: self._note(request.url))
        self.page.on(
            "console", lambda message: self.complaints.append(message.text) if message.type == "error" else None
        )
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _note(self, url: str) -> None:
        if not url.startswith(("data:", "blob:")) and urlsplit(url).netloc != urlsplit(self.address).netloc:
            self.elsewhere.append(url)

    def wait_for_scripts(self) -> None:
        """Wait until the page is more than a form."""
        expect(self.page.get_by_role("button", name="Use the camera")).to_be_visible()

    def choose(self, *files: FilePayload) -> None:
        """Pick files as with the file dialogue."""
        self.page.locator("#file").set_input_files(list(files))

    def drop(self, *files: FilePayload) -> None:
        """Drag files onto the page and let them go."""
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
        """The result of a file."""
        return self.page.get_by_role("listitem").filter(has=self.page.get_by_role("heading", name=name, exact=True))

    def finished(self, classified: int, failed: int = 0) -> None:
        """Wait until the status says that all is done, and every thumbnail is there that can be made."""
        count = classified + failed
        parts = [f"{classified} classified", *([f"{failed} failed"] if failed else [])]
        said = f"{count} picture{'s' if count > 1 else ''}: {', '.join(parts)}."
        expect(self.page.locator("#status")).to_have_text(said, timeout=60_000)
        expect(self.page.locator("#items .picture:not(.none) img:not([src])")).to_have_count(0)

    def check_accessible(self) -> None:
        """Fail with what axe finds on the page as it is now."""
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(_AXE.read_text())
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        told = [
            f"{violation['id']}: {violation['help']}: {[node['html'] for node in violation['nodes']]}"
            for violation in found["violations"]
        ]
        assert told == []

    def check_width(self) -> None:
        """Fail if the page has to be scrolled sideways."""
        assert self.page.evaluate("document.documentElement.scrollWidth") <= self.page.viewport_size["width"]  # type: ignore[index]


@contextmanager
def visiting(
    chromium: Browser, address: str, *, expected: str = "", own_scripts: bool = True, **options: Any
) -> Iterator[Visit]:
    """Open the page; fails when it asked another origin, or when its console told of an error but an expected one.

    Without its own scripts it is what people without JavaScript see, but tests can still run some, as axe.
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
    assert visit.elsewhere == []
    assert [text for text in visit.complaints if not expected or expected not in text] == []


def picture(name: str = "photo.png", colour: str = "blue", size: tuple[int, int] = (64, 48)) -> FilePayload:
    """A file that the tiny classifiers know the colour of."""
    kind = {"jpg": "JPEG", "tif": "TIFF"}.get(name[-3:], "PNG")
    return {"name": name, "mimeType": f"image/{kind.lower()}", "buffer": encoded(colour, kind, size)}


def broken(name: str = "broken.jpg") -> FilePayload:
    """A file that begins like a JPEG."""
    return {"name": name, "mimeType": "image/jpeg", "buffer": b"\xff\xd8\xff hello"}
