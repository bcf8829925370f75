"""Every example of docs/api.md and the README runs as it is, and is answered as it says."""

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

from tests.support import tiny_app as tiny
from tests.support.browser import chromium, needs_chromium
from tests.support.documents import Example, differences, sections
from tests.support.encoded_images import encoded
from tests.support.paths import ROOT
from tests.support.processes import server

__all__ = ["chromium"]  # a fixture

API, README = ROOT / "docs" / "api.md", ROOT / "README.md"
HOST = "localhost:8000"
LIKELIEST = ("cat", "dog", "frog", "deer", "bird")
VERSIONS = 3  # the documents name the shipped version
CURL = 'set -euo pipefail; curl() { command curl --fail-with-body --silent --show-error "$@"; }\n'
REFUSED = 22  # curl's exit code where the status is an error

LISTENING = """async () => {
    const answers = [], accepted = [];
    const console = { log: (...all) => answers.push(...all) };
    const fetch = async (...all) => {
        const response = await window.fetch(...all);
        accepted.push(response.ok);
        return response;
    };
    { EXAMPLE }
    return { answers, accepted };
}"""

needs_curl = [pytest.mark.skipif(shutil.which("curl") is None, reason="no curl is installed")]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of models with the names of the shipped ones, and with labels that the document shows."""
    store = tmp_path_factory.mktemp("store")
    tiny.build(store)
    for _ in range(VERSIONS):
        tiny.add_classifier(store, "cifar10", "near_net", dict(zip(LIKELIEST, tiny.COLOURS.values(), strict=False)))
        tiny.add_classifier(store, "tiny_imagenet", "near_net")
    with server("tests.support.tiny_server", APP_STORE=str(store)) as started:
        yield started.address().removeprefix("http://")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the examples name."""
    folder = tmp_path_factory.mktemp("pictures")
    for name in ("photo.jpg", "a.jpg", "b.jpg"):
        (folder / name).write_bytes(encoded("blue", "JPEG"))
    (folder / "letter.txt").write_text("Dear reader")
    with zipfile.ZipFile(folder / "photos.zip", "w") as archive:
        for name in ("photo.jpg", "letter.txt"):
            archive.write(folder / name, name)
    return folder


@pytest.fixture(scope="module")
def page(chromium: Browser, host: str, folder: Path) -> Page:
    """A page from the server's own address with the field that the document shows, and files chosen in it."""
    (field,) = re.findall(r"```html\n(.*?)```", API.read_text(), re.DOTALL)
    page = chromium.new_page()
    page.goto(f"http://{host}/livez")
    page.evaluate("html => { document.body.innerHTML = html; }", field)
    page.locator("input[type=file]").set_input_files([folder / "photo.jpg", folder / "letter.txt"])
    return page


def examples(language: str, marks: Sequence[pytest.MarkDecorator] = ()) -> pytest.MarkDecorator:
    """Those of both documents that ask the server."""
    chosen = [
        pytest.param(example, id=str(example), marks=marks)
        for document in (API, README)
        for section in sections(document)
        for example in section.examples
        if example.language == language and HOST in example.code
    ]
    return pytest.mark.parametrize("example", chosen)


@examples("bash", needs_curl)
def test_curl(example: Example, host: str, folder: Path) -> None:
    code = CURL + example.code.replace(HOST, host)
    ran = subprocess.run(["bash", "-c", code], cwd=folder, capture_output=True, text=True, timeout=30)
    with naming(example):
        assert ran.returncode == (REFUSED if is_refused(example) else 0), ran.stderr + ran.stdout
        check(example, list(documents_in(ran.stdout)) if example.answer else [])


@examples("python")
def test_python(
    example: Example, host: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    code = "\n" * (example.line - 1) + example.code.replace(HOST, host)
    with naming(example):
        exec(compile(code, str(example.document), "exec"), {})
        printed = capsys.readouterr().out.splitlines()
        check(example, list(map(ast.literal_eval, printed)) if example.answer else [])


@examples("js", needs_chromium)
def test_javascript(example: Example, host: str, page: Page) -> None:
    with naming(example):
        ran = page.evaluate(LISTENING.replace("EXAMPLE", example.code.replace(HOST, host)))
        assert set(ran["accepted"]) == {not is_refused(example)}, ran
        check(example, ran["answers"])


@contextmanager
def naming(example: Example) -> Iterator[None]:
    """Whatever goes wrong names the example."""
    try:
        yield
    except Exception as error:
        error.add_note(f"The example is {example}.")
        raise


def check(example: Example, answers: Sequence[Any]) -> None:
    """Each answer has the form that the document shows, where it shows one."""
    if example.answer is None:
        return
    assert answers, "it prints no answer"
    for answer in answers:
        assert list(differences(example.answer, answer)) == []


def is_refused(example: Example) -> bool:
    """Whether an error is shown for its answer."""
    return isinstance(example.answer, dict) and "code" in example.answer


def documents_in(text: str) -> Iterator[Any]:
    """JSON documents, one behind the other."""
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
def test_an_answer_of_another_form_is_told(shown: Any, answer: Any, words: str | None) -> None:
    found = list(differences(shown, answer))
    assert len(found) == (0 if words is None else 1)
    assert words is None or words in found[0]
