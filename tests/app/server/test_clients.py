"""Common clients with their default settings: Java's HttpClient, curl, and libraries of Python."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.encoded_images import encoded
from tests.support.paths import ROOT
from tests.support.processes import TINY_SERVER, server
from tests.support.raw_http import connected, head

JAVA_SOURCE = ROOT / "tests" / "support" / "java" / "Upload.java"
IMAGE = encoded("green", "JPEG", (640, 480))
LARGE = 30_000_000
TRIES = 5
TIMEOUT_S = 60

needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="java is not installed (openjdk-17-jdk-headless)")
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


@pytest.fixture(scope="module")
def address(tiny_store: Path) -> Iterator[str]:
    with server(TINY_SERVER, APP_STORE=str(tiny_store), APP_READ_TIMEOUT_S="5") as process:
        yield process.address()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return files to upload: a photo, and one that is too large."""
    folder = tmp_path_factory.mktemp("files")
    contents = {"photo": IMAGE, "large": b"\xff\xd8\xff" + bytes(LARGE)}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in contents}


def run(*command: str | Path) -> str:
    completed = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert completed.returncode == 0, completed.stderr
    return completed.stdout


def java(address: str, content_type: str, *files: Path) -> list[tuple[int, Any]]:
    """Upload files with one client of Java; return status and body of each response."""
    lines = run("java", JAVA_SOURCE, f"{address}/v1/classify", content_type, *files).splitlines()
    pairs = [line.split(" ", 1) for line in lines]
    return [(int(status), json.loads(body)) for status, body in pairs]


@needs_java
@pytest.mark.slow
def test_java_uploads_an_image_although_it_offers_h2c(address: str, files: dict[str, Path]) -> None:
    answers = java(address, "image/jpeg", *[files["photo"]] * 3)
    assert [(status, body["predictions"][0]["label"]) for status, body in answers] == [(200, "green")] * 3


@needs_java
@pytest.mark.slow
@pytest.mark.parametrize(
    ("content_type", "status", "code"),
    [("image/jpeg", 413, "body_too_large"), ("text/plain", 415, "unsupported_content_type")],
)
def test_java_receives_the_rejection_of_a_large_upload(
    address: str, files: dict[str, Path], content_type: str, status: int, code: str
) -> None:
    answers = java(address, content_type, *[files["large"]] * TRIES)
    assert [(got, body["code"]) for got, body in answers] == [(status, code)] * TRIES


def curl(address: str, file: Path, *options: str) -> tuple[int, Any]:
    """Upload a file with curl; return status and body of the response."""
    output = run(
        "curl", "-sS", "--noproxy", "*", "-w", "\n%{http_code}", *options, "--data-binary", f"@{file}", address
    )
    body, _, status = output.rpartition("\n")
    return int(status), json.loads(body)


CURL_OPTIONS = {
    "default": (),
    "h2c": ("--http2",),
    "HTTP/1.0": ("--http1.0",),
    "expect": ("-H", "Expect: 100-continue"),
    "no expect": ("-H", "Expect:"),
    "chunks": ("-H", "Transfer-Encoding: chunked"),
    "h2c and chunks": ("--http2", "-H", "Transfer-Encoding: chunked"),
    "close": ("-H", "Connection: close"),
}


@needs_curl
@pytest.mark.parametrize("options", CURL_OPTIONS.values(), ids=CURL_OPTIONS.keys())
def test_curl_uploads_an_image(address: str, files: dict[str, Path], options: tuple[str, ...]) -> None:
    url = f"{address}/v1/classify"
    status, body = curl(url, files["photo"], "-H", "Content-Type: image/jpeg", *options)
    assert (status, body["predictions"][0]["label"]) == (200, "green")


@needs_curl
@pytest.mark.parametrize("options", CURL_OPTIONS.values(), ids=CURL_OPTIONS.keys())
def test_curl_receives_the_rejection_of_a_large_upload(
    address: str, files: dict[str, Path], options: tuple[str, ...]
) -> None:
    for _ in range(TRIES):
        status, body = curl(f"{address}/v1/classify", files["large"], "-H", "Content-Type: image/jpeg", *options)
        assert (status, body["code"]) == (413, "body_too_large")


@needs_curl
def test_curl_uploads_a_form(address: str, files: dict[str, Path]) -> None:
    output = run("curl", "-sS", "--noproxy", "*", "-F", f"file=@{files['photo']}", f"{address}/v1/classify")
    assert json.loads(output)["predictions"][0]["label"] == "green"


def test_client_that_expects_100_continue_is_asked_only_for_a_body_that_is_read(address: str) -> None:
    """RFC 9110, 10.1.1: a final response to the head spares the client the upload."""
    for content_type, first in (("image/jpeg", b"HTTP/1.1 100 "), ("text/plain", b"HTTP/1.1 415 ")):
        with connected(address) as connection:
            connection.sendall(head(Content_Type=content_type, Content_Length=len(IMAGE), Expect="100-continue"))
            assert connection.recv(100).startswith(first)


@pytest.mark.parametrize("size", [1_000, LARGE])
def test_python_clients_receive_the_rejection(address: str, size: int) -> None:
    """They send the whole body before they read."""
    for _ in range(TRIES):
        connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=TIMEOUT_S)
        connection.request("POST", "/v1/classify", bytes(size), {"Content-Type": "text/plain"})
        response = connection.getresponse()
        assert (response.status, json.loads(response.read())["code"]) == (415, "unsupported_content_type")
        connection.close()
        answer = httpx.post(f"{address}/v1/classify", content=bytes(size), headers={"Content-Type": "text/plain"})
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_content_type")


@pytest.mark.slow
def test_urllib_in_a_new_interpreter_receives_the_rejection(address: str, files: dict[str, Path]) -> None:
    """As a script would send it: the whole file, with `Connection: close`."""
    script = (
        "import sys, urllib.error, urllib.request\n"
        "try: urllib.request.urlopen(urllib.request.Request(sys.argv[1], open(sys.argv[2], 'rb').read()))\n"
        "except urllib.error.HTTPError as error: print(error.code, error.read().decode())\n"
    )
    for _ in range(TRIES):
        output = run(sys.executable, "-c", script, f"{address}/v1/classify?nosuch=1", files["large"])
        assert output.startswith("422 ")
