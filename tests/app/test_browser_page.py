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
from playwright.sync_api import Browser, Page, expect

from tests.app.browser import broken, chromium, needs_chromium, picture, visiting
from tests.app.processes import server

__all__ = ["chromium"]  # a fixture

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def address(tiny_store: Path) -> Iterator[str]:
    with server("tests.app.tiny_server", APP_STORE=str(tiny_store)) as started:
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
        visit.finished("1 picture done.")
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
        visit.finished(f"{examples.count()} pictures done.")
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
        visit.finished("20 pictures done, 3 of them failed.")
        assert visit.page.locator("#items > li .file").all_text_contents() == [file["name"] for file in files]
        expect(visit.page.get_by_text("Most likely: green")).to_have_count(17)
        expect(visit.item("a.jpg")).to_contain_text("cannot be decoded")
        expect(visit.item("b.txt")).to_contain_text("JPEG, PNG")
        expect(visit.item("=empty.png")).to_contain_text("empty")
        visit.check_accessible()
        visit.check_width()

        rows = list(csv.DictReader(StringIO(_downloaded(visit.page, "Download all as CSV"))))
        assert len(rows) == 17 * 6 + 3
        assert {row["file"]: row["label"] for row in rows if row["rank"] == "1"} == {
            f"{number}.png": "green" for number in range(17)
        }
        assert [row["file"] for row in rows if row["error"]] == ["a.jpg", "b.txt", "'=empty.png"]
        documents = json.loads(_downloaded(visit.page, "Download all as JSON"))
        assert [document["file"] for document in documents] == [file["name"] for file in files]
        assert documents[0]["results"][0]["predictions"][0]["label"] == "green"
        assert documents[3]["error"]["status"] == 422

        visit.page.get_by_role("button", name="Remove: a.jpg").click()
        expect(visit.page.get_by_role("button", name="Remove: b.txt")).to_be_focused()
        visit.finished("19 pictures done, 2 of them failed.")
        visit.page.get_by_role("button", name="Remove all").click()
        expect(visit.page.get_by_role("heading", name="Results")).to_be_hidden()
        expect(visit.page.locator("#file")).to_be_focused()


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
        visit.finished("1 picture done.")
        captions = visit.item("photo.png").locator("caption")
        assert captions.all_text_contents() == ["colours, version 2", "far, version 1", "colours, version 1"]


def test_a_model_leads_to_its_card(chromium: Browser, address: str) -> None:
    with visiting(chromium, address) as visit:
        visit.page.get_by_role("link", name="About tones, version 1").click()
        expect(visit.page.get_by_role("heading", name="tones")).to_be_visible()
        expect(visit.page.get_by_text("Names colours.")).to_be_visible()
        visit.check_accessible()
        visit.page.get_by_role("link", name="Classify a picture").click()
        expect(visit.page.get_by_role("heading", name="What does the picture show?")).to_be_visible()


def test_threshold_and_number_of_classes_act_at_once(chromium: Browser, address: str) -> None:
    with visiting(chromium, address) as visit:
        visit.choose(picture())
        visit.finished("1 picture done.")
        item = visit.item("photo.png")
        visit.page.get_by_label("Sure from").fill("100")
        expect(visit.page.locator("#threshold-shown")).to_have_text("100 %")
        expect(item.get_by_text("Not sure, perhaps: blue")).to_be_visible()
        visit.page.get_by_label("Sure from").fill("20")
        expect(item.get_by_text("Most likely: blue")).to_be_visible()
        visit.page.get_by_label("Classes shown").select_option("3")
        expect(item.get_by_role("meter")).to_have_count(3)


def test_what_is_copied_as_curl_gives_the_same_answer(chromium: Browser, address: str, tmp_path: Path) -> None:
    name = 'it\'s; a, "photo".png'
    (tmp_path / name).write_bytes(picture()["buffer"])
    with visiting(chromium, address, permissions=["clipboard-read", "clipboard-write"]) as visit:
        visit.page.get_by_label("far, version 1", exact=True).check()
        visit.choose(picture(name))
        visit.finished("1 picture done.")
        item = visit.item(name)
        item.get_by_role("button", name="Copy JSON").click()
        expect(item.get_by_text("Copied")).to_be_visible()
        copied = json.loads(visit.page.evaluate("navigator.clipboard.readText()"))
        item.get_by_role("button", name="Copy as curl").click()
        expect(item.get_by_text("Copied")).to_have_count(2)
        command = visit.page.evaluate("navigator.clipboard.readText()")
    answer = json.loads(subprocess.run(shlex.split(command), cwd=tmp_path, capture_output=True, check=True).stdout)
    for ours, theirs in zip(copied["results"], answer["results"], strict=True):
        assert (ours["model"], ours["version"]) == (theirs["model"], theirs["version"])
        assert ours["predictions"][:5] == theirs["predictions"]


def test_copying_works_without_a_clipboard_too(chromium: Browser, address: str) -> None:
    with visiting(chromium, address) as visit:
        visit.page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
        visit.choose(picture())
        visit.finished("1 picture done.")
        visit.page.get_by_role("button", name="Copy as curl").click()
        expect(visit.page.get_by_text("Copied")).to_be_visible()


def test_history_outlives_a_reload_and_can_be_forgotten(chromium: Browser, address: str) -> None:
    with visiting(chromium, address) as visit:
        visit.choose(picture("one.png"), picture("two.png", "red"))
        visit.finished("2 pictures done.")
        visit.page.reload()
        visit.page.get_by_text("Earlier in this visit").click()
        past = visit.page.locator("#past li")
        expect(past).to_have_count(2)
        expect(past.filter(has_text="two.png")).to_contain_text("red")
        assert past.locator("img").evaluate_all("all => Promise.all(all.map((each) => each.decode()))") is not None
        visit.check_accessible()
        visit.page.get_by_role("button", name="Forget them").click()
        expect(visit.page.locator("#history")).to_be_hidden()
        visit.page.reload()
        expect(visit.page.locator("#history")).to_be_hidden()


def test_everything_can_be_reached_by_the_keyboard(chromium: Browser, address: str) -> None:
    with visiting(chromium, address) as visit:
        visit.choose(picture())
        visit.finished("1 picture done.")
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
            "Copy as curl",
            "Remove",
        }
        assert wanted <= set(reached)
