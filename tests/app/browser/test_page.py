"""The page in Chromium with its scripts: what people do with it."""

from __future__ import annotations

import csv
import json
import shlex
import subprocess
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.support.browser import Visit, broken, chromium, needs_chromium, picture, visiting
from tests.support.processes import server

__all__ = ["chromium"]  # a fixture

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def address(tiny_store: Path) -> Iterator[str]:
    with server("tests.support.tiny_server", APP_STORE=str(tiny_store)) as started:
        yield started.address()


looks = pytest.mark.parametrize("scheme", ["light", "dark"])
widths = pytest.mark.parametrize("width", [360, 1280])


@looks
@widths
@pytest.mark.parametrize("way", ["choose", "drop", "paste"])
def test_a_picture_that_comes_in_is_shown_classified_and_focused(
    chromium: Browser, address: str, way: str, width: int, scheme: str
) -> None:
    size = {"width": width, "height": 800}
    with visiting(chromium, address, viewport=size, color_scheme=scheme) as visit:
        getattr(visit, way)(picture())
        visit.finished(1)
        item = visit.item("photo.png")
        expect(item.get_by_text("Most likely: blue")).to_be_visible()
        expect(item.get_by_role("meter")).to_have_count(5)
        expect(item.get_by_text("ms in the network, in a batch of 1")).to_be_visible()
        assert item.locator("img").evaluate("image => image.decode().then(() => image.naturalWidth)") == 64
        expect(visit.page.get_by_role("heading", name="Results")).to_be_focused()
        visit.check_width()
        visit.check_accessible()


def test_an_example_is_classified_with_one_click(chromium: Browser, address: str) -> None:
    with visiting(chromium, address) as visit:
        examples = visit.page.locator("#examples button")
        for number in range(examples.count()):
            examples.nth(number).press("Enter")
            visit.finished(number + 1)  # each one, when it comes in, takes the focus to the results
        expect(visit.item("cat.jpg").get_by_role("meter")).to_have_count(5)


@looks
@widths
def test_twenty_files_of_which_three_are_broken(chromium: Browser, address: str, width: int, scheme: str) -> None:
    files = [picture(f"{number}.png", "green") for number in range(17)]
    files[3:3] = [broken("a.jpg"), {"name": "b.txt", "mimeType": "text/plain", "buffer": b"hello"}]
    files.append({"name": "=empty.png", "mimeType": "image/png", "buffer": b""})
    size = {"width": width, "height": 800}
    with visiting(chromium, address, expected="Failed to load resource", viewport=size, color_scheme=scheme) as visit:
        visit.choose(*files)
        visit.finished(17, failed=3)
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
        expect(visit.page.get_by_role("button", name="Try again")).to_have_count(0)  # it would not help
        visit.finished(17, failed=2)
        visit.page.get_by_role("button", name="Remove all").click()
        expect(visit.page.get_by_role("heading", name="Results")).to_be_hidden()
        expect(visit.page.locator("#file")).to_be_focused()


def _open_tools(page: Page) -> None:
    """On small screens they are folded away."""
    if page.locator("#tools:not([open])").count():
        page.get_by_text("For all of them").click()


def _downloaded(page: Page, button: str) -> str:
    with page.expect_download() as download:
        page.get_by_role("button", name=button).click()
    return Path(download.value.path()).read_bytes().decode()


def test_several_models_and_versions_answer_for_one_picture(chromium: Browser, address: str) -> None:
    with visiting(chromium, address) as visit:
        visit.page.get_by_label("far, version 1", exact=True).check()
        visit.page.get_by_text("Older versions").click()
        visit.page.get_by_label("colours, version 1", exact=True).check()
        visit.choose(picture())
        visit.finished(1)
        assert _models(visit) == ["colours, version 2", "far, version 1", "colours, version 1"]


def _models(visit: Visit) -> list[str]:
    return visit.item("photo.png").locator(".model a").all_text_contents()  # type: ignore[no-any-return]


def test_pictures_can_be_classified_again_with_other_models(chromium: Browser, address: str) -> None:
    with visiting(chromium, address) as visit:
        visit.choose(picture())
        visit.finished(1)
        assert _models(visit) == ["colours, version 2"]
        visit.page.get_by_label("far, version 1", exact=True).check()
        visit.page.get_by_role("button", name="Classify all again").click()
        expect(visit.item("photo.png").locator(".model")).to_have_count(2)
        visit.finished(1)


def test_a_model_leads_to_its_card(chromium: Browser, address: str) -> None:
    with visiting(chromium, address) as visit:
        with visit.page.expect_popup() as opened:  # so that the results stay
            visit.page.get_by_role("link", name="About tones, version 1").click()
        card = Visit(opened.value, address)
        expect(card.page.get_by_role("heading", name="tones")).to_be_visible()
        expect(card.page.get_by_text("Names colours.")).to_be_visible()
        card.check_accessible()
        card.page.set_viewport_size({"width": 360, "height": 800})
        card.check_width()
        card.page.get_by_role("link", name="Classify a picture").click()
        expect(card.page.get_by_role("heading", name="What does the picture show?")).to_be_visible()


def test_threshold_and_number_of_classes_act_at_once(chromium: Browser, address: str) -> None:
    with visiting(chromium, address) as visit:
        visit.choose(picture())
        visit.finished(1)
        item = visit.item("photo.png")
        threshold = visit.page.get_by_label("Say “not sure” below")
        threshold.fill("100")
        expect(visit.page.locator("#threshold-shown")).to_have_text("100 %")
        expect(item.get_by_text("Not sure, perhaps: blue")).to_be_visible()
        threshold.fill("20")
        expect(item.get_by_text("Most likely: blue")).to_be_visible()
        visit.page.get_by_label("Classes shown").select_option("3")
        expect(item.get_by_role("meter")).to_have_count(3)


def test_what_is_copied_as_curl_gives_the_same_answer(chromium: Browser, address: str, tmp_path: Path) -> None:
    name = 'it\'s; a, "photo".png'
    (tmp_path / name).write_bytes(picture()["buffer"])
    with visiting(chromium, address, permissions=["clipboard-read", "clipboard-write"]) as visit:
        visit.page.get_by_label("far, version 1", exact=True).check()
        visit.choose(picture(name))
        visit.finished(1)
        item = visit.item(name)
        item.get_by_role("button", name="Copy JSON").click()
        expect(item.get_by_role("button", name="Copied")).to_be_visible()
        expect(visit.page.locator("#announcements")).to_have_text("Copied")
        copied = json.loads(visit.page.evaluate("navigator.clipboard.readText()"))
        item.get_by_role("button", name="Copy as curl").click()
        expect(item.locator(".copy-curl")).to_have_text("Copied")
        command = visit.page.evaluate("navigator.clipboard.readText()")
        item.locator(".copy-curl").click()  # twice, before the button is called as before
        expect(item.locator(".copy-curl")).to_have_text("Copy as curl")
    answer = json.loads(subprocess.run(shlex.split(command), cwd=tmp_path, capture_output=True, check=True).stdout)
    for ours, theirs in zip(copied["results"], answer["results"], strict=True):
        assert (ours["model"], ours["version"]) == (theirs["model"], theirs["version"])
        assert ours["predictions"][:5] == theirs["predictions"]


def test_copying_works_without_a_clipboard_too(chromium: Browser, address: str) -> None:
    with visiting(chromium, address) as visit:
        visit.page.evaluate(
            """() => {
                Object.defineProperty(navigator, 'clipboard', {value: undefined});
                document.addEventListener("copy", () => (window.copied = String(getSelection())));
            }"""
        )
        visit.choose(picture())
        visit.finished(1)
        visit.page.get_by_role("button", name="Copy as curl").click()
        expect(visit.page.get_by_role("button", name="Copied")).to_be_focused()
        assert "/v1/classify?" in visit.page.evaluate("copied")


def test_history_outlives_a_reload_and_can_be_forgotten(chromium: Browser, address: str) -> None:
    with visiting(chromium, address) as visit:
        visit.choose(picture("one.png"), picture("two.png", "red"))
        visit.finished(2)
        expect(visit.page.locator("#history-count")).to_have_text("2")
        visit.page.reload()
        visit.wait_for_scripts()
        visit.page.get_by_text("Earlier in this visit").click()
        past = visit.page.locator("#past li")
        expect(past).to_have_count(2)
        expect(past.filter(has_text="two.png")).to_contain_text("red")
        assert past.locator("img").evaluate_all("all => Promise.all(all.map((each) => each.decode()))") is not None
        visit.check_accessible()
        visit.page.get_by_role("button", name="Forget them").click()
        expect(visit.page.locator("#history")).to_be_hidden()
        expect(visit.page.locator("#file")).to_be_focused()
        visit.page.reload()
        visit.wait_for_scripts()
        expect(visit.page.locator("#history")).to_be_hidden()


def test_everything_can_be_reached_by_the_keyboard(chromium: Browser, address: str) -> None:
    with visiting(chromium, address) as visit:
        visit.choose(picture())
        visit.finished(1)
        visit.page.evaluate("document.activeElement.blur(); window.scrollTo(0, 0)")
        visit.page.locator("h1").click()
        reached: list[str] = []
        for _ in range(100):
            visit.page.keyboard.press("Tab")
            if visit.page.evaluate("document.activeElement === document.body"):
                break  # past the last one
            reached.append(visit.page.evaluate("(({id, innerText}) => id || innerText)(document.activeElement)"))
            outline = visit.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none", f"focus cannot be seen on {reached[-1]}"
        wanted = {
            "file",
            "open-camera",
            "model-colours@2",
            "threshold",
            "shown",
            "as-csv",
            "copy-curl-1",
            "remove-1",
        }
        assert wanted <= set(reached)


def test_the_last_one_that_is_removed_leaves_no_empty_results(chromium: Browser, address: str) -> None:
    with visiting(chromium, address) as visit:
        visit.choose(picture())
        visit.finished(1)
        visit.page.get_by_role("button", name="Remove photo.png").click()
        expect(visit.page.locator("#results")).to_be_hidden()
        expect(visit.page.locator("#file")).to_be_focused()


def test_a_file_that_was_chosen_before_the_scripts_ran_is_not_lost(chromium: Browser, address: str) -> None:
    page = chromium.new_context().new_page()
    waiting: list[Route] = []
    page.route("**/board.js", lambda route: waiting.append(route))
    page.goto(address, wait_until="commit")
    page.locator("#file").set_input_files([picture()])
    while not waiting:
        page.wait_for_timeout(20)
    waiting[0].continue_()
    expect(page.get_by_text("Most likely: blue")).to_be_visible()
    page.context.close()


def test_a_picture_may_be_as_tall_or_wide_as_it_likes(chromium: Browser, address: str) -> None:
    with visiting(chromium, address) as visit:
        visit.choose(picture("tall.png", size=(20, 1500)), picture("wide.png", size=(3000, 30)))
        visit.finished(2)
        heights = visit.page.locator("#items img").evaluate_all("all => all.map((each) => each.offsetHeight)")
        assert max(heights) <= 300
        visit.check_width()


def test_a_folder_that_is_dropped_is_left_out_and_told(chromium: Browser, address: str) -> None:
    with visiting(chromium, address) as visit:
        visit.page.evaluate(
            """() => {
                const data = {types: ["Files"], items: [{kind: "file", webkitGetAsEntry: () => ({isDirectory: true})}]};
                const event = new Event("drop", {bubbles: true, cancelable: true});
                document.body.dispatchEvent(Object.assign(event, {dataTransfer: data}));
            }"""
        )
        expect(visit.page.get_by_role("alert")).to_contain_text("Folders are left out")
        expect(visit.page.locator("#results")).to_be_hidden()
