"""The page in Chromium with JavaScript: the actions of a user."""

from __future__ import annotations

import csv
import json
import shlex
import subprocess
from io import StringIO
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.support.browser import Visit, broken_file, image_file, needs_chromium, visit_page

pytestmark = needs_chromium


@pytest.mark.parametrize(
    ("way", "width", "scheme"),  # test_weight.py checks every width in every scheme
    [("choose", 360, "light"), ("choose", 1280, "dark"), ("drop", 360, "dark"), ("paste", 1280, "light")],
)
def test_added_image_is_classified_and_focus_moves_to_the_results(
    chromium: Browser, address: str, way: str, width: int, scheme: str
) -> None:
    size = {"width": width, "height": 800}
    with visit_page(chromium, address, viewport=size, color_scheme=scheme) as visit:
        getattr(visit, way)(image_file())
        visit.wait_until_finished(1)
        item = visit.item("photo.png")
        expect(item.get_by_text("Most likely: blue")).to_be_visible()
        expect(item.get_by_role("meter")).to_have_count(5)
        expect(item.get_by_text("ms in the network, in a batch of 1")).to_be_visible()
        assert item.locator("img").evaluate("image => image.decode().then(() => image.naturalWidth)") == 64
        expect(visit.page.get_by_role("heading", name="Results")).to_be_focused()
        visit.check_width()
        visit.check_accessible()


def test_example_is_classified_on_click(chromium: Browser, address: str) -> None:
    with visit_page(chromium, address) as visit:
        examples = visit.page.locator("#examples button")
        for number in range(examples.count()):
            examples.nth(number).press("Enter")
            visit.wait_until_finished(number + 1)  # each added image moves the focus to the results
        expect(visit.item("cat.jpg").get_by_role("meter")).to_have_count(5)


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1280, "dark")])
def test_twenty_files_with_three_broken_ones(chromium: Browser, address: str, width: int, scheme: str) -> None:
    files = [image_file(f"{number}.png", "green") for number in range(17)]
    files[3:3] = [broken_file("a.jpg"), {"name": "b.txt", "mimeType": "text/plain", "buffer": b"hello"}]
    files.append({"name": "=empty.png", "mimeType": "image/png", "buffer": b""})
    size = {"width": width, "height": 800}
    with visit_page(chromium, address, expected="Failed to load resource", viewport=size, color_scheme=scheme) as visit:
        visit.choose(*files)
        visit.wait_until_finished(17, failed=3)
        assert visit.page.locator("#items > li .file").all_text_contents() == [file["name"] for file in files]
        expect(visit.page.get_by_text("Most likely: green")).to_have_count(17)
        expect(visit.item("a.jpg")).to_contain_text("cannot be decoded")
        expect(visit.item("b.txt")).to_contain_text("JPEG, PNG")
        expect(visit.item("=empty.png")).to_contain_text("empty")
        visit.check_accessible()
        visit.check_width()

        _open_tools(visit.page)
        rows = list(csv.DictReader(StringIO(_downloaded(visit.page, "Download as CSV"))))
        assert len(rows) == 17 * 6 + 3
        assert {row["file"]: row["label"] for row in rows if row["rank"] == "1"} == {
            f"{number}.png": "green" for number in range(17)
        }
        assert [row["file"] for row in rows if row["error"]] == ["a.jpg", "b.txt", "'=empty.png"]
        documents = json.loads(_downloaded(visit.page, "Download as JSON"))
        assert [document["file"] for document in documents] == [file["name"] for file in files]
        assert documents[0]["results"][0]["predictions"][0]["label"] == "green"
        assert documents[3]["error"]["status"] == 422

        visit.page.get_by_role("button", name="Remove a.jpg").click()
        expect(visit.page.get_by_role("button", name="Remove b.txt")).to_be_focused()
        expect(visit.page.get_by_role("button", name="Try again")).to_have_count(0)  # retrying would not help
        visit.wait_until_finished(17, failed=2)
        visit.page.get_by_role("button", name="Remove all").click()
        expect(visit.page.get_by_role("heading", name="Results")).to_be_hidden()
        expect(visit.page.locator("#file")).to_be_focused()


def _open_tools(page: Page) -> None:
    """Open the options, which are collapsed on small screens."""
    if page.locator("#tools:not([open])").count():
        page.get_by_text("Options for all images").click()


def _downloaded(page: Page, button: str) -> str:
    with page.expect_download() as download:
        page.get_by_role("button", name=button).click()
    return Path(download.value.path()).read_bytes().decode()


def test_several_models_and_versions_classify_one_image(chromium: Browser, address: str) -> None:
    with visit_page(chromium, address) as visit:
        visit.page.get_by_label("far, version 1", exact=True).check()
        visit.page.get_by_text("Older versions").click()
        visit.page.get_by_label("colours, version 1", exact=True).check()
        visit.choose(image_file())
        visit.wait_until_finished(1)
        assert _models(visit) == ["colours, version 2", "far, version 1", "colours, version 1"]


def _models(visit: Visit) -> list[str]:
    return visit.item("photo.png").locator(".model a").all_text_contents()  # type: ignore[no-any-return]


def test_images_can_be_classified_again_with_other_models(chromium: Browser, address: str) -> None:
    with visit_page(chromium, address) as visit:
        visit.choose(image_file())
        visit.wait_until_finished(1)
        assert _models(visit) == ["colours, version 2"]
        visit.page.get_by_label("far, version 1", exact=True).check()
        visit.page.get_by_role("button", name="Classify all again").click()
        expect(visit.item("photo.png").locator(".model")).to_have_count(2)
        visit.wait_until_finished(1)


def test_model_links_to_its_card(chromium: Browser, address: str) -> None:
    with visit_page(chromium, address) as visit:
        with visit.page.expect_popup() as popup:  # opens in a new tab, which keeps the results
            visit.page.get_by_role("link", name="About tones, version 1").click()
        card = Visit(popup.value, address)
        expect(card.page.get_by_role("heading", name="tones")).to_be_visible()
        expect(card.page.get_by_text("Names colours.")).to_be_visible()
        card.check_accessible()
        card.page.set_viewport_size({"width": 360, "height": 800})
        card.check_width()
        card.page.get_by_role("link", name="Classify an image").click()
        expect(card.page.get_by_role("heading", name="What does the image show?")).to_be_visible()


def test_threshold_and_class_count_update_the_results(chromium: Browser, address: str) -> None:
    with visit_page(chromium, address) as visit:
        visit.choose(image_file())
        visit.wait_until_finished(1)
        item = visit.item("photo.png")
        threshold = visit.page.get_by_label("Show “not sure” below")
        threshold.fill("100")
        expect(visit.page.locator("#threshold-shown")).to_have_text("100 %")
        expect(item.get_by_text("Not sure, perhaps: blue")).to_be_visible()
        threshold.fill("20")
        expect(item.get_by_text("Most likely: blue")).to_be_visible()
        visit.page.get_by_label("Classes shown").select_option("3")
        expect(item.get_by_role("meter")).to_have_count(3)


def test_copied_curl_command_gives_the_same_result(chromium: Browser, address: str, tmp_path: Path) -> None:
    name = 'it\'s; a, "photo".png'
    (tmp_path / name).write_bytes(image_file()["buffer"])
    with visit_page(chromium, address, permissions=["clipboard-read", "clipboard-write"]) as visit:
        visit.page.get_by_label("far, version 1", exact=True).check()
        visit.choose(image_file(name))
        visit.wait_until_finished(1)
        item = visit.item(name)
        item.get_by_role("button", name="Copy JSON").click()
        expect(item.get_by_role("button", name="Copied")).to_be_visible()
        expect(visit.page.locator("#announcements")).to_have_text("Copied")
        copied = json.loads(visit.page.evaluate("navigator.clipboard.readText()"))
        item.get_by_role("button", name="Copy as curl").click()
        expect(item.locator(".copy-curl")).to_have_text("Copied")
        command = visit.page.evaluate("navigator.clipboard.readText()")
        item.locator(".copy-curl").click()  # again, before the button has its label back
        expect(item.locator(".copy-curl")).to_have_text("Copy as curl")
    response = json.loads(subprocess.run(shlex.split(command), cwd=tmp_path, capture_output=True, check=True).stdout)
    for shown, returned in zip(copied["results"], response["results"], strict=True):
        assert (shown["model"], shown["version"]) == (returned["model"], returned["version"])
        assert shown["predictions"][:5] == returned["predictions"]


def test_copying_works_without_the_clipboard_api(chromium: Browser, address: str) -> None:
    with visit_page(chromium, address) as visit:
        visit.page.evaluate(
            """() => {
                Object.defineProperty(navigator, 'clipboard', {value: undefined});
                document.addEventListener("copy", () => (window.copied = String(getSelection())));
            }"""
        )
        visit.choose(image_file())
        visit.wait_until_finished(1)
        visit.page.get_by_role("button", name="Copy as curl").click()
        expect(visit.page.get_by_role("button", name="Copied")).to_be_focused()
        assert "/v1/classify?" in visit.page.evaluate("copied")


def test_history_survives_a_reload_and_can_be_cleared(chromium: Browser, address: str) -> None:
    with visit_page(chromium, address) as visit:
        visit.choose(image_file("one.png"), image_file("two.png", "red"))
        visit.wait_until_finished(2)
        expect(visit.page.locator("#history-count")).to_have_text("2")
        visit.page.reload()
        visit.wait_for_scripts()
        visit.page.get_by_text("History", exact=True).click()
        entries = visit.page.locator("#history-items li")
        expect(entries).to_have_count(2)
        expect(entries.filter(has_text="two.png")).to_contain_text("red")
        assert entries.locator("img").evaluate_all("all => Promise.all(all.map((each) => each.decode()))") is not None
        visit.check_accessible()
        visit.page.get_by_role("button", name="Clear history").click()
        expect(visit.page.locator("#history")).to_be_hidden()
        expect(visit.page.locator("#file")).to_be_focused()
        visit.page.reload()
        visit.wait_for_scripts()
        expect(visit.page.locator("#history")).to_be_hidden()


def test_all_controls_can_be_reached_by_keyboard(chromium: Browser, address: str) -> None:
    with visit_page(chromium, address) as visit:
        visit.choose(image_file())
        visit.wait_until_finished(1)
        visit.page.evaluate("document.activeElement.blur(); window.scrollTo(0, 0)")
        visit.page.locator("h1").click()
        reached: list[str] = []
        for _ in range(100):
            visit.page.keyboard.press("Tab")
            if visit.page.evaluate("document.activeElement === document.body"):
                break  # after the last control
            reached.append(visit.page.evaluate("(({id, innerText}) => id || innerText)(document.activeElement)"))
            outline = visit.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none", f"focus is not visible on {reached[-1]}"
        expected = {
            "file",
            "open-camera",
            "model-colours@2",
            "threshold",
            "shown",
            "as-csv",
            "copy-curl-1",
            "remove-1",
        }
        assert expected <= set(reached)


def test_removing_the_last_image_hides_the_results(chromium: Browser, address: str) -> None:
    with visit_page(chromium, address) as visit:
        visit.choose(image_file())
        visit.wait_until_finished(1)
        visit.page.get_by_role("button", name="Remove photo.png").click()
        expect(visit.page.locator("#results")).to_be_hidden()
        expect(visit.page.locator("#file")).to_be_focused()


def test_file_chosen_before_the_scripts_ran_is_classified(chromium: Browser, address: str) -> None:
    page = chromium.new_context().new_page()
    waiting: list[Route] = []
    page.route("**/result-list.js", lambda route: waiting.append(route))
    page.goto(address, wait_until="commit")
    page.locator("#file").set_input_files([image_file()])
    while not waiting:
        page.wait_for_timeout(20)
    waiting[0].continue_()
    expect(page.get_by_text("Most likely: blue")).to_be_visible()
    page.context.close()


def test_very_tall_and_wide_images_fit_the_page(chromium: Browser, address: str) -> None:
    with visit_page(chromium, address) as visit:
        visit.choose(image_file("tall.png", size=(20, 1500)), image_file("wide.png", size=(3000, 30)))
        visit.wait_until_finished(2)
        heights = visit.page.locator("#items img").evaluate_all("all => all.map((each) => each.offsetHeight)")
        assert max(heights) <= 300
        visit.check_width()


def test_dropped_folder_is_rejected_with_a_message(chromium: Browser, address: str) -> None:
    with visit_page(chromium, address) as visit:
        visit.page.evaluate(
            """() => {
                const data = {types: ["Files"], items: [{kind: "file", webkitGetAsEntry: () => ({isDirectory: true})}]};
                const event = new Event("drop", {bubbles: true, cancelable: true});
                document.body.dispatchEvent(Object.assign(event, {dataTransfer: data}));
            }"""
        )
        expect(visit.page.get_by_role("alert")).to_contain_text("Folders cannot be dropped")
        expect(visit.page.locator("#results")).to_be_hidden()
