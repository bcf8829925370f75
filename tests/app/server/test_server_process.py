"""The server as a process: startup, its errors, signals, logs, and the shipped models."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from app import page
from app.auth.keys import Role, add_key
from app.page.examples import EXAMPLES
from models.artifacts.store import DEFAULT_STORE
from tests.support.encoded_images import encoded
from tests.support.paths import ROOT
from tests.support.processes import TINY_SERVER, free_port, get, post, server, server_in_new_interpreter
from tests.support.raw_http import connected, head, read_answer
from tests.support.slow_clients import slowly

IMAGE = encoded("green", "JPEG", (640, 480))
EXAMPLE_FILES = Path(page.__file__).parent / "static" / "examples"
LABELS = {"gull.jpg": "bird"}
SHIPPED = pytest.mark.skipif(
    not (DEFAULT_STORE / "classifiers" / "cifar10").is_dir(), reason="the shipped store is missing"
)


def test_new_process_classifies_an_image_and_exits_with_0_on_sigterm(tiny_store: Path) -> None:
    with server_in_new_interpreter(TINY_SERVER, APP_STORE=str(tiny_store)) as process:
        assert post(process.address(), IMAGE).json["predictions"][0]["label"] == "green"
        process.terminate()
        assert process.exit_code() == 0


@pytest.mark.slow  # waits longer than uvicorn's default keep-alive of 5 s
def test_idle_connection_is_kept_for_the_next_request(tiny_store: Path) -> None:
    with server(TINY_SERVER, APP_STORE=str(tiny_store)) as process, connected(process.address()) as connection:
        for request in slowly([head("/livez", "GET")] * 2, pause_s=7):
            connection.sendall(request)
            assert read_answer(connection).status == 200, "the connection was closed"


def test_control_c_exits_with_0(tiny_store: Path) -> None:
    with server(TINY_SERVER, APP_STORE=str(tiny_store)) as process:
        process.address()
        process.process.send_signal(signal.SIGINT)
        assert process.exit_code() == 0


def test_probes_respond_while_the_models_load(tiny_store: Path) -> None:
    port = free_port()
    with server(TINY_SERVER, APP_STORE=str(tiny_store), APP_PORT=str(port), TINY_LOAD_S="2") as process:
        process.wait_for_log("Loading the models")
        address = f"http://127.0.0.1:{port}"
        assert get(address, "/livez").status == 200
        waiting = get(address, "/readyz")
        assert (waiting.status, waiting.json["code"]) == (503, "not_ready")
        assert post(address, IMAGE).json["code"] == "not_ready"
        assert b"models are loading" in get(address, "/").body
        assert health(port) == 1
        process.address()
        assert get(address, "/readyz").status == 200
        assert health(port) == 0


@pytest.mark.parametrize(
    ("host", "name"), [("::1", "[::1]"), ("::", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("127.0.0.2", "127.0.0.2")]
)
def test_health_command_asks_where_the_server_listens(tiny_store: Path, host: str, name: str) -> None:
    port = free_port()
    with server(TINY_SERVER, APP_STORE=str(tiny_store), APP_PORT=str(port), APP_HOST=host) as process:
        assert process.address() == f"http://{name}:{port}", "the address to open in a browser"
        assert get(process.address(), "/livez").status == 200
        assert health(port, APP_HOST=host) == 0


def health(port: int, **variables: str) -> int:
    environment = {**os.environ, "APP_PORT": str(port), **variables}
    return subprocess.run([sys.executable, "-m", "app.health"], cwd=ROOT, env=environment, check=False).returncode


def test_corrupted_store_stops_startup_with_one_line(tiny_store: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(tiny_store, store)
    head = store / "classifiers" / "tones" / "1" / "head.pkl"
    head.write_bytes(head.read_bytes()[:-1] + b"!")
    with server(TINY_SERVER, APP_STORE=str(store)) as process:
        assert process.exit_code() == 1
    (line,) = (entry for entry in map(json.loads, process.lines) if entry["level"] == "critical")
    assert "Cannot load tones@1" in line["event"]
    assert "head.pkl was changed" in line["event"]
    assert "Traceback" not in process.log


def test_missing_default_model_stops_startup(tiny_store: Path) -> None:
    with server(TINY_SERVER, APP_STORE=str(tiny_store), APP_DEFAULT_MODEL="nosuch") as process:
        assert process.exit_code() == 1
    assert "APP_DEFAULT_MODEL=nosuch: There is no model nosuch. Available: colours@2" in process.log


def test_empty_store_stops_startup(tmp_path: Path) -> None:
    with server("app", APP_STORE=str(tmp_path)) as process:
        assert process.exit_code() == 1
    assert "There is no classifier in" in process.log
    assert "Traceback" not in process.log


def test_port_in_use_stops_startup_with_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with server("app", APP_PORT=str(port)) as process:
            assert process.exit_code() == 1
    (line,) = process.lines
    assert f"Cannot listen on 127.0.0.1 port {port}" in line
    assert f"APP_PORT={port + 1}" in line


def test_invalid_settings_are_one_line_each_and_exit_with_2() -> None:
    with server("app", APP_PORT="http", APP_MAX_BATCH="0") as process:
        assert process.exit_code() == 2
    assert [line.partition(":")[0] for line in process.lines] == ["APP_PORT=http", "APP_MAX_BATCH=0"]


def test_misspelt_setting_and_empty_keys_file_stop_startup_with_2() -> None:
    with server("app", APP_MAXBATCH="4", APP_API_KEYS_FILE="") as process:
        assert process.exit_code() == 2
    assert process.log.count("\n") == 2
    assert "APP_API_KEYS_FILE=: must not be empty." in process.log
    assert "APP_MAXBATCH is not a setting. Did you mean APP_MAX_BATCH?" in process.log


def test_variable_of_something_else_is_named_in_the_log(tmp_path: Path) -> None:
    with server("app", APP_STORE=str(tmp_path), APP_ENV="production") as process:
        assert process.exit_code() == 1
    assert "APP_ENV is not a setting and was ignored." in process.log
    assert "APP_ALLOWED_HOSTS" not in process.log


def test_server_that_responds_for_any_host_says_so(tmp_path: Path) -> None:
    with server("app", APP_STORE=str(tmp_path), APP_HOST="0.0.0.0") as process:
        process.exit_code()
    assert "Requests for any host are served. Set APP_ALLOWED_HOSTS" in process.log


def test_access_log_is_json_and_contains_nothing_of_the_image(tiny_store: Path) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with server(TINY_SERVER, APP_STORE=str(tiny_store)) as process:
        httpx.post(
            f"{process.address()}/v1/classify?top_k=1",
            files={"file": ("my-secret.jpg", IMAGE)},
            headers={"X-Request-ID": "test-7", "traceparent": trace},
        )
        process.terminate()
        process.exit_code()
    (entry,) = (entry for entry in map(json.loads, process.lines) if entry["event"] == "request")
    assert entry["request_id"] == "test-7"
    assert entry["traceparent"] == trace
    assert (entry["method"], entry["path"], entry["status"]) == ("POST", "/v1/classify", 200)
    assert entry["bytes_in"] > len(IMAGE)
    assert entry["duration_ms"] > 0
    assert "secret" not in process.log
    assert hashlib.sha256(IMAGE).hexdigest() not in process.log


def test_image_size_format_and_digest_are_logged_if_enabled(tiny_store: Path, tmp_path: Path) -> None:
    key = add_key(tmp_path / "keys", "laptop", Role.USER)
    with server(
        TINY_SERVER, APP_STORE=str(tiny_store), APP_LOG_IMAGES="1", APP_API_KEYS_FILE=str(tmp_path / "keys")
    ) as process:
        headers = {"X-API-Key": key, "X-Request-ID": "test-8"}
        httpx.post(f"{process.address()}/v1/classify", files={"file": ("my-secret.jpg", IMAGE)}, headers=headers)
        process.terminate()
        process.exit_code()
    entries = [json.loads(line) for line in process.lines]
    (image,) = (entry for entry in entries if entry["event"] == "image")
    digest = hashlib.sha256(IMAGE).hexdigest()
    assert (image["bytes"], image["format"], image["sha256"]) == (len(IMAGE), "JPEG", digest)
    assert image["request_id"] == "test-8"
    (request,) = (entry for entry in entries if entry["event"] == "request")
    assert request["key"] == "laptop"
    assert "secret" not in process.log
    assert key not in process.log


def test_only_trusted_proxies_set_the_client_address(tiny_store: Path) -> None:
    limit = {"APP_STORE": str(tiny_store), "APP_RATE_LIMIT": "1/hour"}

    def statuses(address: str) -> list[int]:
        clients = ("198.51.100.7", "198.51.100.8")
        return [
            httpx.get(f"{address}/v1/models", headers={"X-Forwarded-For": client}).status_code for client in clients
        ]

    with server(TINY_SERVER, **limit) as alone, server(TINY_SERVER, **limit, APP_TRUSTED_PROXIES="127.0.0.1") as behind:
        assert statuses(alone.address()) == [200, 429]
        assert statuses(behind.address()) == [200, 200]


def test_missing_keys_file_stops_startup_with_one_line(tmp_path: Path) -> None:
    with server(TINY_SERVER, APP_API_KEYS_FILE=str(tmp_path / "keys")) as process:
        assert process.exit_code() == 1
    assert "keys: No such file or directory" in process.log
    assert "Traceback" not in process.log


@SHIPPED
def test_shipped_server_classifies_uploads_and_its_examples() -> None:
    with server_in_new_interpreter("app") as process:
        address = process.address(100)
        answer = httpx.post(
            f"{address}/v1/classify", files={"file": ("photo.jpg", IMAGE, "image/jpeg")}, timeout=20
        ).json()
        assert (answer["model"], len(answer["predictions"])) == ("imagenet", 5)
        assert post(address, IMAGE).json["predictions"] == answer["predictions"]
        for example in EXAMPLES:
            image = (EXAMPLE_FILES / example.file).read_bytes()
            answer = httpx.post(f"{address}/v1/classify", params={"model": "cifar10"}, content=image, timeout=20).json()
            assert answer["predictions"][0]["label"] == LABELS.get(example.file, Path(example.file).stem), (
                "an example of the page"
            )
        process.terminate()
        assert process.exit_code() == 0


@SHIPPED
def test_changed_byte_in_the_shipped_store_stops_startup(tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(DEFAULT_STORE, store)
    weights = next(store.glob("extractors/*/*/weights.safetensors"))
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    with server("app", APP_STORE=str(store)) as process:
        assert process.exit_code(60) == 1
    assert "weights.safetensors was changed" in process.log
    assert "Traceback" not in process.log
