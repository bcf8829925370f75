"""`make screenshots`: images of the page for the documents, taken with the shipped classifiers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from io import BytesIO

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.support.browser import CHROMIUM, FLAGS
from tests.support.paths import ROOT
from tests.support.processes import server

FOLDER = ROOT / "docs" / "images"


def start(_page: Page) -> None:
    """Leave the start page as it opens."""


def results(page: Page) -> None:
    """Show results of two models, with an uncertain one, and the error for a file that is not an image."""
    page.get_by_role("checkbox", name="cifar10").check()
    page.locator("#file").set_input_files({"name": "letter.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.7"})
    for name in ("cat", "puppy"):
        page.get_by_role("button", name=name).click()
    expect(page.locator("#status")).to_have_text("3 images: 2 classified, 1 failed.")


def phone(page: Page) -> None:
    """Show one result on a small screen in dark mode."""
    page.get_by_role("button", name="sailing boat").click()
    expect(page.locator("#status")).to_have_text("1 image: 1 classified.")
    expect(page.get_by_role("heading", name="Results")).to_be_in_viewport()


def card(page: Page) -> None:
    """Open a model card."""
    page.goto(page.get_by_role("link", name="About imagenet").evaluate("link => link.href"))


STATES: tuple[tuple[Callable[[Page], None], int, int, str], ...] = (
    (start, 1000, 900, "light"),
    (results, 1000, 1100, "light"),
    (phone, 390, 844, "dark"),
    (card, 1000, 900, "dark"),
)


def main() -> int:
    """Take all screenshots."""
    if CHROMIUM is None:
        print("Screenshots need Chromium. On Debian: apt-get install chromium", file=sys.stderr)
        return 1
    FOLDER.mkdir(parents=True, exist_ok=True)
    with server("app") as started, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for open_state, width, height, scheme in STATES:
            path = FOLDER / f"{open_state.__name__}.png"
            path.write_bytes(
                _reduce_colours(_screenshot(browser, started.address(), open_state, (width, height), scheme))
            )
            print(path.relative_to(ROOT))
        browser.close()
    return 0


def _screenshot(
    browser: Browser, address: str, open_state: Callable[[Page], None], size: tuple[int, int], scheme: str
) -> bytes:
    page = browser.new_page(
        viewport={"width": size[0], "height": size[1]},
        reduced_motion="reduce",
        color_scheme="dark" if scheme == "dark" else "light",
    )
    page.goto(address, wait_until="networkidle")
    open_state(page)
    png = page.screenshot()
    page.close()
    return png


def _reduce_colours(png: bytes) -> bytes:
    """Reduce a PNG to 256 colours, which saves two thirds of its size without a visible difference."""
    buffer = BytesIO()
    Image.open(BytesIO(png)).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


if __name__ == "__main__":
    sys.exit(main())
