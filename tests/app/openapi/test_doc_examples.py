"""Every example in docs/api.md and the README runs unchanged and gets the documented response."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.support import colour_store
from tests.support.browser import needs_chromium, running_chromium
from tests.support.colour_images import COLOURS
from tests.support.documents import Example, differences, sections
from tests.support.encoded_images import encoded
from tests.support.paths import ROOT
from tests.support.processes import server

API, README = ROOT / "docs" / "api.md", ROOT / "README.md"
HOST = "localhost:8000"
LABELS = ("cat", "dog", "frog", "deer", "bird")
VERSIONS = 3  # the documents use the shipped version
CURL = 'set -euo pipefail; curl() { command curl --fail-with-body --silent --show-error "$@"; }\n'
CURL_HTTP_ERROR = 22  # exit code of curl if the status is an error

RUN_EXAMPLE = """async () => {
    const responses = [], ok = [];
    const console = { log: (...values) => responses.push(...values) };
    const fetch = async (...args) => {
        const response = await window.fetch(...args);
        ok.push(response.ok);
        return response;
    };
    { EXAMPLE }
    return { responses, ok };
}"""

needs_curl = [pytest.mark.skipif(shutil.which("curl") is None, reason="no curl is installed")]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server whose models have the names of the shipped ones and the labels of the documents."""
    store = tmp_path_factory.mktemp("store")
    colour_store.build(store)
    for _ in range(VERSIONS):
        colour_store.add_classifier(store, "cifar10", "near_net", dict(zip(LABELS, COLOURS.values(), strict=False)))
    labels = dict(zip(("Egyptian cat", "tiger-striped cat"), COLOURS.values(), strict=False))
    parents = {**dict.fromkeys(labels, "cat"), "cat": "animal"}
    colour_store.add_classifier(store, "imagenet", "near_net", labels, parents=parents)
    with server("tests.support.tiny_server", APP_STORE=str(store)) as started:
        yield started.address().removeprefix("http://")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the examples use."""
    folder = tmp_path_factory.mktemp("images")
    for name in ("photo.jpg", "a.jpg", "b.jpg"):
        (folder / name).write_bytes(encoded("blue", "JPEG"))
    (folder / "letter.txt").write_text("Dear reader")
    with zipfile.ZipFile(folder / "photos.zip", "w") as archive:
        for name in ("photo.jpg", "letter.txt"):
            archive.write(folder / name, name)
    return folder


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with running_chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def page(chromium: Browser, host: str, folder: Path) -> Page:
    """A page of the server's origin with the file input of the document, in which files are chosen."""
    (field,) = re.findall(r"```html\n(.*?)```", API.read_text(), re.DOTALL)
    page = chromium.new_page()
    page.goto(f"http://{host}/livez")
    page.evaluate("html => { document.body.innerHTML = html; }", field)
    page.locator("input[type=file]").set_input_files([folder / "photo.jpg", folder / "letter.txt"])
    return page


def examples(language: str, marks: Sequence[pytest.MarkDecorator] = ()) -> pytest.MarkDecorator:
    """Parametrize with the examples of both documents that call the server."""
    parameters = [
        pytest.param(example, id=str(example), marks=marks)
        for document in (API, README)
        for section in sections(document)
        for example in section.examples
        if example.language == language and HOST in example.code
    ]
    return pytest.mark.parametrize("example", parameters)


@examples("bash", needs_curl)
def test_curl(example: Example, host: str, folder: Path) -> None:
    code = CURL + example.code.replace(HOST, host)
    ran = subprocess.run(["bash", "-c", code], cwd=folder, capture_output=True, text=True, timeout=30)
    with add_example_note(example):
        assert ran.returncode == (CURL_HTTP_ERROR if is_error(example) else 0), ran.stderr + ran.stdout
        check(example, list(documents_in(ran.stdout)) if example.answer else [])


@examples("python")
def test_python(
    example: Example, host: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    code = "\n" * (example.line - 1) + example.code.replace(HOST, host)
    with add_example_note(example):
        exec(compile(code, str(example.document), "exec"), {})
        printed = capsys.readouterr().out.splitlines()
        check(example, list(map(ast.literal_eval, printed)) if example.answer else [])


@examples("js", needs_chromium)
def test_javascript(example: Example, host: str, page: Page) -> None:
    with add_example_note(example):
        ran = page.evaluate(RUN_EXAMPLE.replace("EXAMPLE", example.code.replace(HOST, host)))
        assert set(ran["ok"]) == {not is_error(example)}, ran
        check(example, ran["responses"])


@contextmanager
def add_example_note(example: Example) -> Iterator[None]:
    """Add the example to every exception."""
    try:
        yield
    except Exception as error:
        error.add_note(f"The example is {example}.")
        raise


def check(example: Example, answers: Sequence[Any]) -> None:
    """Check the form of the responses, if the document shows one."""
    if example.answer is None:
        return
    assert answers, "it prints no response"
    for answer in answers:
        assert list(differences(example.answer, answer)) == []


def is_error(example: Example) -> bool:
    """Return whether the documented response is an error."""
    return isinstance(example.answer, dict) and "code" in example.answer


def documents_in(text: str) -> Iterator[Any]:
    """Split concatenated JSON documents."""
    while text := text.lstrip():
        document, end = json.JSONDecoder().raw_decode(text)
        yield document
        text = text[end:]


@pytest.mark.parametrize(
    ("shown", "answer", "words"),
    [
        ({"a": 1}, {"a": 2, "b": 3}, None),
        ({"a": 1}, {"a": 2.5}, None),
        ({"a": [1, 2, 3]}, {"a": [4]}, None),
        ({"a": 1}, {}, "has no 'a'"),
        ({"a": 1}, {"a": "1"}, "not like 1"),
        ({"a": [{"b": 1}]}, {"a": [{"c": 1}]}, "['a'][0] has no 'b'"),
        ({"a": [1]}, {"a": []}, "is empty"),
        ([{"a": 1}, {"b": 1}], [{"a": 1}, {"a": 1}], "[1] has no 'b'"),
        ({"a": True}, {"a": 1}, "not like True"),
    ],
)
def test_differences_in_form_are_reported(shown: Any, answer: Any, words: str | None) -> None:
    messages = list(differences(shown, answer))
    assert len(messages) == (0 if words is None else 1)
    assert words is None or words in messages[0]
