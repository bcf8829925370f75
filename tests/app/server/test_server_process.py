"""Real processes, real sockets, real signals."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from app import page
from app.auth.keys import Role, add_key
from app.page.examples import EXAMPLES
from models.artifacts.store import DEFAULT_STORE
from tests.support.encoded_images import encoded
from tests.support.paths import ROOT
from tests.support.processes import free_port, get, post, server
from tests.support.raw_http import connected, head, read_answer

TINY = "tests.support.tiny_server"
PICTURE = encoded("green", "JPEG", (640, 480))
EXAMPLE_FILES = Path(page.__file__).parent / "static" / "examples"
SHOWN = {"gull.jpg": "bird"}
SHIPPED = pytest.mark.skipif(
    not (DEFAULT_STORE / "classifiers" / "cifar10").is_dir(), reason="the shipped store is not there"
)


def test_a_picture_is_classified_and_sigterm_ends_with_0(tiny_store: Path) -> None:
    with server(TINY, APP_STORE=str(tiny_store)) as started:
        assert post(started.address(), PICTURE).json["predictions"][0]["label"] == "green"
        started.terminate()
        assert started.exit_code() == 0


@pytest.mark.slow  # uvicorn's own 5 seconds have to pass
def test_a_connection_can_be_asked_again_after_a_pause(tiny_store: Path) -> None:
    with server(TINY, APP_STORE=str(tiny_store)) as started, connected(started.address()) as connection:
        for pause_s in (7, 0):
            connection.sendall(head("/livez", "GET"))
            assert read_answer(connection).status == 200, "it was closed meanwhile"
            time.sleep(pause_s)


def test_control_c_ends_with_0_too(tiny_store: Path) -> None:
    with server(TINY, APP_STORE=str(tiny_store)) as started:
        started.address()
        started.process.send_signal(signal.SIGINT)
        assert started.exit_code() == 0


def test_probes_answer_while_the_models_are_being_loaded(tiny_store: Path) -> None:
    port = free_port()
    with server(TINY, APP_STORE=str(tiny_store), APP_PORT=str(port), TINY_LOAD_S="4") as started:
        started.wait_for_log("Loading the models")
        address = f"http://127.0.0.1:{port}"
        assert get(address, "/livez").status == 200
        waiting = get(address, "/readyz")
        assert (waiting.status, waiting.json["code"]) == (503, "not_ready")
        assert post(address, PICTURE).json["code"] == "not_ready"
        assert b"models are loading" in get(address, "/").body
        assert health(port) == 1
        started.address()
        assert get(address, "/readyz").status == 200
        assert health(port) == 0


def health(port: int) -> int:
    environment = {**os.environ, "APP_PORT": str(port)}
    return subprocess.run([sys.executable, "-m", "app.health"], cwd=ROOT, env=environment, check=False).returncode


def test_a_corrupted_store_is_refused_with_one_clear_line(tiny_store: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(tiny_store, store)
    head = store / "classifiers" / "tones" / "1" / "head.pkl"
    head.write_bytes(head.read_bytes()[:-1] + b"!")
    with server(TINY, APP_STORE=str(store)) as started:
        assert started.exit_code() == 1
    (line,) = (each for each in map(json.loads, started.lines) if each["level"] == "critical")
    assert "Cannot load tones@1" in line["event"]
    assert "head.pkl was changed" in line["event"]
    assert "Traceback" not in started.log


def test_a_default_model_that_is_not_there_is_refused(tiny_store: Path) -> None:
    with server(TINY, APP_STORE=str(tiny_store), APP_DEFAULT_MODEL="nosuch") as started:
        assert started.exit_code() == 1
    assert "APP_DEFAULT_MODEL=nosuch: There is no model nosuch. Available: colours@2" in started.log


def test_an_empty_store_says_how_to_make_a_model(tmp_path: Path) -> None:
    with server("app", APP_STORE=str(tmp_path)) as started:
        assert started.exit_code() == 1
    assert "There is no classifier in" in started.log
    assert "Traceback" not in started.log


def test_a_port_in_use_is_one_clear_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with server("app", APP_PORT=str(port)) as started:
            assert started.exit_code() == 1
    (line,) = started.lines
    assert f"Cannot listen on 127.0.0.1 port {port}" in line
    assert f"APP_PORT={port + 1}" in line


def test_wrong_settings_are_one_line_each_and_exit_with_2() -> None:
    with server("app", APP_PORT="http", APP_MAX_BATCH="0") as started:
        assert started.exit_code() == 2
    assert [line.partition(":")[0] for line in started.lines] == ["APP_PORT=http", "APP_MAX_BATCH=0"]


def test_a_misspelt_setting_is_pointed_out(tmp_path: Path) -> None:
    with server("app", APP_STORE=str(tmp_path), APP_MAXBATCH="4") as started:
        started.exit_code()
    assert "APP_MAXBATCH is not a setting and was ignored. Did you mean APP_MAX_BATCH?" in started.log


def test_the_access_log_is_json_and_says_nothing_of_the_picture(tiny_store: Path) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with server(TINY, APP_STORE=str(tiny_store)) as started:
        httpx.post(
            f"{started.address()}/v1/classify?top_k=1",
            files={"file": ("my-secret.jpg", PICTURE)},
            headers={"X-Request-ID": "test-7", "traceparent": trace},
        )
        started.terminate()
        started.exit_code()
    (entry,) = (each for each in map(json.loads, started.lines) if each["event"] == "request")
    assert entry["request_id"] == "test-7"
    assert entry["traceparent"] == trace
    assert (entry["method"], entry["path"], entry["status"]) == ("POST", "/v1/classify", 200)
    assert entry["bytes_in"] > len(PICTURE)
    assert entry["duration_ms"] > 0
    assert "secret" not in started.log
    assert hashlib.sha256(PICTURE).hexdigest() not in started.log


def test_image_size_format_and_digest_are_logged_if_enabled(tiny_store: Path, tmp_path: Path) -> None:
    key = add_key(tmp_path / "keys", "laptop", Role.USER)
    with server(
        TINY, APP_STORE=str(tiny_store), APP_LOG_IMAGES="1", APP_API_KEYS_FILE=str(tmp_path / "keys")
    ) as started:
        headers = {"X-API-Key": key, "X-Request-ID": "test-8"}
        httpx.post(f"{started.address()}/v1/classify", files={"file": ("my-secret.jpg", PICTURE)}, headers=headers)
        started.terminate()
        started.exit_code()
    entries = [json.loads(line) for line in started.lines]
    (image,) = (entry for entry in entries if entry["event"] == "image")
    digest = hashlib.sha256(PICTURE).hexdigest()
    assert (image["bytes"], image["format"], image["sha256"]) == (len(PICTURE), "JPEG", digest)
    assert image["request_id"] == "test-8"
    (request,) = (entry for entry in entries if entry["event"] == "request")
    assert request["key"] == "laptop"
    assert "secret" not in started.log
    assert key not in started.log


def test_only_trusted_proxies_say_whose_request_it_is(tiny_store: Path) -> None:
    limit = {"APP_STORE": str(tiny_store), "APP_RATE_LIMIT": "1/hour"}

    def statuses(address: str) -> list[int]:
        clients = ("198.51.100.7", "198.51.100.8")
        return [httpx.get(f"{address}/v1/models", headers={"X-Forwarded-For": each}).status_code for each in clients]

    with server(TINY, **limit) as alone, server(TINY, **limit, APP_TRUSTED_PROXIES="127.0.0.1") as behind:
        assert statuses(alone.address()) == [200, 429]
        assert statuses(behind.address()) == [200, 200]


def test_a_file_of_keys_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    with server(TINY, APP_API_KEYS_FILE=str(tmp_path / "keys")) as started:
        assert started.exit_code() == 1
    assert "keys: No such file or directory" in started.log
    assert "Traceback" not in started.log


@SHIPPED
def test_the_shipped_server_classifies_an_uploaded_picture() -> None:
    with server("app") as started:
        address = started.address(100)
        answer = httpx.post(
            f"{address}/v1/classify", files={"file": ("photo.jpg", PICTURE, "image/jpeg")}, timeout=20
        ).json()
        assert (answer["model"], len(answer["predictions"])) == ("cifar10", 5)
        assert post(address, PICTURE).json["predictions"] == answer["predictions"]
        for example in EXAMPLES:
            named = post(address, (EXAMPLE_FILES / example.file).read_bytes()).json["predictions"][0]
            assert named["label"] == SHOWN.get(example.file, Path(example.file).stem), "the page offers it to newcomers"
        started.terminate()
        assert started.exit_code() == 0


@SHIPPED
def test_a_changed_byte_in_the_shipped_store_is_refused(tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(DEFAULT_STORE, store)
    weights = next(store.glob("extractors/*/*/weights.safetensors"))
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    with server("app", APP_STORE=str(store)) as started:
        assert started.exit_code(60) == 1
    assert "weights.safetensors was changed" in started.log
    assert "Traceback" not in started.log
