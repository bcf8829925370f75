"""The command line of the model store."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import PIL
import pytest
from typer.testing import CliRunner, Result

from models.__main__ import app
from models.artifacts.store import Store
from models.decoding.resample import resizer_name
from models.errors import ModelsError
from models.manifests import HEAD_FILE
from tests.support.colour_images import colour_images
from tests.support.images import encode
from tests.support.manifests import CLASSES
from tests.support.paths import ROOT
from tests.support.resizers import block_rust
from tests.support.undecodable_names import write_file


@pytest.fixture(scope="module")
def images_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with three images, one of them in a subfolder, and a hidden text file."""
    folder = tmp_path_factory.mktemp("images")
    images, _ = colour_images(per_class=1)
    kinds = {"blue.png": "PNG", "green ä.jpg": "JPEG", "more/red.webp": "WEBP"}
    for (name, kind), image in zip(kinds.items(), images, strict=False):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(encode(image, kind))
    (folder / ".hidden").write_text("no image")
    return folder


def invoke(store: Store, command: str, *arguments: object) -> Result:
    """Run a command in this process; `main` would print the exceptions that this raises."""
    return CliRunner().invoke(app, [command, *map(str, arguments), "--store", str(store.root)])


def run(store: Store, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command as a process."""
    command = [sys.executable, "-m", "models", *map(str, arguments), "--store", str(store.root)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)


# --- the store


def test_list_shows_classifiers_with_accuracy_and_extractors(network_store: Store) -> None:
    result = invoke(network_store, "list")
    assert result.exit_code == 0
    for expected in ("colours", "own_top", "trees", "75.0% of 32", "tiny_net", "small_cnn", "32 px"):
        assert expected in result.stdout, f"the list does not show {expected}"


def test_list_of_an_empty_store_succeeds(tmp_path: Path) -> None:
    assert invoke(Store(tmp_path), "list").exit_code == 0


@pytest.mark.parametrize("model", ["colours", "colours@1", "tiny_net", "tiny_net@1"])
def test_show_prints_the_model_card(network_store: Store, model: str) -> None:
    result = invoke(network_store, "show", model)
    assert result.exit_code == 0
    assert model.partition("@")[0] in result.stdout
    assert "Names colours" in result.stdout or "Random weights" in result.stdout


def test_show_of_an_unknown_model_fails(network_store: Store) -> None:
    assert isinstance(invoke(network_store, "show", "dogs").exception, ModelsError)


def test_verify_lists_every_artifact(network_store: Store) -> None:
    result = invoke(network_store, "verify")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("ok ") == 5
    assert result.stdout.startswith(f"images are resized with {resizer_name()}\n")


def test_verify_without_the_rust_resizer_names_pillow(
    network_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    block_rust(tmp_path, monkeypatch)
    process = run(network_store, "verify")
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith(f"images are resized with Pillow {PIL.__version__}\n")
    assert process.stdout.count("ok ") == 5


def test_verify_reports_a_changed_file_and_checks_the_others(own_store: Store) -> None:
    path = own_store.classifier("trees").folder / HEAD_FILE
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    result = invoke(own_store, "verify")
    assert result.exit_code == 1
    assert result.stdout.count("ok ") == 4
    assert "invalid  classifier trees@1" in result.output
    assert "head.pkl was changed" in result.output


# --- classify


def test_json_has_one_line_per_image(network_store: Store, images_folder: Path) -> None:
    result = invoke(network_store, "classify", images_folder, "--model", "colours", "--json", "--top", 2)
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [Path(line["file"]).name for line in lines] == ["blue.png", "green ä.jpg", "red.webp"]
    assert [line["predictions"][0]["label"] for line in lines] == ["blue", "green", "red"]
    for line in lines:
        first, second = line["predictions"]
        assert first["score"] >= second["score"]
        assert first["label"] == CLASSES[first["index"]]


def test_csv_has_one_line_per_class_and_image(network_store: Store, images_folder: Path) -> None:
    result = invoke(network_store, "classify", images_folder, "--model", "trees", "--csv", "--top", 3)
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert len(rows) == 9
    assert {row["label"] for row in rows} <= set(CLASSES)
    assert all(0 <= float(row["score"]) <= 1 for row in rows)
    assert rows[0]["file"].endswith("blue.png")


def test_table_shows_file_name_and_classes(network_store: Store, images_folder: Path) -> None:
    result = invoke(network_store, "classify", images_folder / "blue.png", "--model", "own_top", "--top", 4)
    assert result.exit_code == 0, result.output
    assert "blue.png" in result.stdout
    assert all(label in result.stdout for label in CLASSES)
    assert "%" in result.stdout


def test_threshold_can_remove_all_classes(network_store: Store, images_folder: Path) -> None:
    result = invoke(
        network_store, "classify", images_folder / "blue.png", "--model", "colours", "--json", "--threshold", 1
    )
    assert json.loads(result.stdout)["predictions"] == []


def test_unreadable_images_are_reported_after_the_others_are_classified(
    network_store: Store, images_folder: Path, tmp_path: Path
) -> None:
    broken, missing = tmp_path / "broken [red].jpg", tmp_path / "missing.jpg"
    broken.write_bytes(encode(colour_images()[0][0], "JPEG")[:300])
    result = invoke(network_store, "classify", broken, images_folder, missing, "--model", "colours", "--json")
    assert result.exit_code == 1
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(lines) == 5
    assert [bool(line["predictions"]) for line in lines] == [False, True, True, True, False]
    assert f"{broken}: This JPEG image cannot be decoded" in result.stderr
    assert f"{missing}: No such file or directory" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--json", "--csv"],
        ["--labels", "--csv"],
        ["--post", "--labels"],
        ["--post", "--threshold", "0.5"],
        ["--top", "0"],
        ["--threshold", "2"],
        ["--colour"],
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_with_2(network_store: Store, images_folder: Path, arguments: list[str]) -> None:
    assert invoke(network_store, "classify", images_folder, *arguments).exit_code == 2


# --- as a process


def test_classify_as_a_process(network_store: Store, images_folder: Path) -> None:
    process = run(network_store, "classify", images_folder / "blue.png", "--model", "colours@1", "--json")
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout)["predictions"][0]["label"] == "blue"
    assert process.stderr == "", "messages of a library reached the terminal"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["show", "dogs"], 1, "There is no extractor dogs"),
        (["show", "a@b"], 1, "'a@b' is not a model: write NAME or NAME@VERSION"),
        (["classify", "x.jpg", "--model", "dogs"], 1, "There is no classifier dogs"),
        (["classify"], 2, "Missing argument"),
        (["paint"], 2, "No such command"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_user_errors_are_one_line(network_store: Store, arguments: list[str], code: int, message: str) -> None:
    process = run(network_store, *arguments)
    assert process.returncode == code
    assert message in process.stderr
    assert "Traceback" not in process.stderr
    if code == 1:
        assert len(process.stderr.strip().splitlines()) == 1


def test_damaged_store_is_reported_in_one_line(own_store: Store) -> None:
    (own_store.classifier("trees").folder / "manifest.json").write_bytes(b"{}")
    for command in ("list", "verify"):
        process = run(own_store, command)
        assert process.returncode == 1
        assert len(process.stderr.strip().splitlines()) == 1
        assert "manifest.json was changed or is damaged" in process.stderr


def test_folder_without_images_is_an_error(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["classify", str(tmp_path)])
    assert result.exit_code == 1
    assert "No images found in" in result.output


# --- by a server


class FakeServer(BaseHTTPRequestHandler):
    """Responds like the service: busy to the first request, and 415 to a broken image."""

    paths: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        FakeServer.paths.append(self.path)
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if len(FakeServer.paths) == 1:
            self._send(503, {"detail": "busy"}, {"Retry-After": "0"})
        elif data.startswith(b"broken"):
            self._send(415, {"detail": "This is not an image."})
        else:
            predictions = [{"label": "blue", "index": 0, "score": 0.9}, {"label": "red", "index": 1, "score": 0.1}]
            top = int(parse_qs(urlsplit(self.path).query)["top_k"][0])
            self._send(200, {"model": "colours", "version": 1, "predictions": predictions[:top]})

    def _send(self, status: int, body: dict[str, Any], headers: Mapping[str, str] = MappingProxyType({})) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    FakeServer.paths.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), FakeServer) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_classify_by_a_server(network_store: Store, images_folder: Path, tmp_path: Path, url: str) -> None:
    broken = tmp_path / "letter.txt"
    broken.write_bytes(b"broken")
    result = invoke(
        network_store,
        "classify",
        images_folder,
        broken,
        "--url",
        url,
        "--model",
        "colours@1",
        "--top",
        2,
        "--json",
        "--threshold",
        0.5,
    )
    assert result.exit_code == 1
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [Path(line["file"]).name for line in lines] == ["blue.png", "green ä.jpg", "red.webp", "letter.txt"]
    assert all(line["predictions"] == [{"label": "blue", "index": 0, "score": 0.9}] for line in lines[:3])
    assert lines[3] == {"file": str(broken), "predictions": [], "error": "This is not an image."}
    assert f"{broken}: This is not an image." in result.stderr
    assert all("model=colours%401&top_k=2" in path for path in FakeServer.paths)


def test_unreachable_server_is_reported(network_store: Store, images_folder: Path) -> None:
    process = run(network_store, "classify", images_folder, "--url", "http://127.0.0.1:9")
    assert process.returncode == 1
    assert "No response from http://127.0.0.1:9" in process.stderr
    assert "Traceback" not in process.stderr


# --- names and terminals that are not UTF-8


def run_bytes(encoding: str, *arguments: object) -> subprocess.CompletedProcess[bytes]:
    """Run a command as a process whose standard output and error have an encoding."""
    command = [sys.executable, "-m", "models", *map(str, arguments)]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False, timeout=100)


@pytest.mark.parametrize(
    ("encoding", "options", "name"),
    [
        ("utf-8:strict", [], b"caf\xe9.jpg"),
        ("utf-8:strict", ["--csv"], rb"caf\xe9.jpg"),
        ("latin-1", ["--labels"], rb"caf\xe9.jpg"),
        ("ascii", ["--json"], rb"caf\\xe9.jpg"),
    ],
)
def test_all_images_and_failures_are_written_in_any_encoding(
    tmp_path: Path, url: str, encoding: str, options: list[str], name: bytes
) -> None:
    for file in (b"a.jpg", b"caf\xe9.jpg", "猫.jpg".encode(), b"z.jpg"):
        write_file(tmp_path, file, b"image")
    write_file(tmp_path, b"k\xe4se.jpg", b"broken")
    process = run_bytes(encoding, "classify", tmp_path, "--url", url, *options)
    assert process.returncode == 1
    assert b"Traceback" not in process.stderr
    assert all(part in process.stdout for part in (b"a.jpg", name, b"z.jpg"))
    broken = b"k\xe4se.jpg" if encoding.startswith("utf-8") else rb"k\xe4se.jpg"
    assert process.stderr.splitlines() == [os.fsencode(tmp_path) + b"/" + broken + b": This is not an image."]


@pytest.mark.parametrize("encoding", ["utf-8:strict", "ascii"])
def test_errors_and_wrong_usage_are_written_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    word = "caf\udce9 猫"
    for arguments, code in (
        (["classify", tmp_path / word, "--store", tmp_path], 1),
        (["show", word, "--store", tmp_path / word], 1),
        (["verify", "--store", tmp_path, f"--{word}"], 2),
    ):
        process = run_bytes(encoding, *arguments)
        assert process.returncode == code
        assert b"Traceback" not in process.stderr


def test_store_in_a_folder_with_brackets_is_verified(own_store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "a[" / "b]"
    folder.parent.mkdir()
    own_store.root.rename(folder)
    moved = Store(folder)
    path = moved.classifier("trees").folder / HEAD_FILE
    path.write_bytes(b"changed")
    result = invoke(moved, "verify")
    assert "invalid  classifier trees@1" in result.output
    assert str(folder) in result.output


# --- output formats and input patterns


def test_metadata_of_file_managers_in_a_folder_is_no_failure(
    network_store: Store, images_folder: Path, tmp_path: Path
) -> None:
    for name in (".thumbnails/t.png", "__MACOSX/t.png", "sub/t.png", "Thumbs.db", "sub/Desktop.ini"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((images_folder / "blue.png").read_bytes() if name.endswith("png") else b"x")
    result = invoke(network_store, "classify", tmp_path, "--model", "colours", "--labels")
    assert result.exit_code == 0, result.output
    assert [line.split(",")[0] for line in result.stdout.splitlines()[1:]] == [str(tmp_path / "sub" / "t.png")]
    named = invoke(network_store, "classify", tmp_path / "Thumbs.db", "--model", "colours", "--labels")
    assert named.exit_code == 1
    assert "Thumbs.db: " in named.stderr


@pytest.fixture
def mixed(images_folder: Path, tmp_path: Path) -> Path:
    """Return a folder with an image, a text file and another image."""
    for name, source in (("1.png", "blue.png"), ("3.webp", "more/red.webp")):
        (tmp_path / name).write_bytes((images_folder / source).read_bytes())
    (tmp_path / "2.txt").write_bytes(b"broken")
    return tmp_path


def classified(store: Store, folder: Path, *options: object) -> list[list[str]]:
    """Classify a folder of which one file cannot be read; return the rows of the table, with names of files."""
    result = invoke(store, "classify", folder, *options)
    assert result.exit_code == 1, result.output
    header, *rows = csv.reader(io.StringIO(result.stdout))
    return [header, *([Path(file).name, *cells] for file, *cells in rows)]


def test_labels_have_one_row_for_each_image_with_its_error(network_store: Store, mixed: Path) -> None:
    header, blue, broken, red = classified(network_store, mixed, "--model", "colours", "--labels", "--top", 3)
    assert header == ["file", "label", "score", "error"]
    assert (blue[:2], blue[3]) == (["1.png", "blue"], "")
    assert 0.5 < float(blue[2]) <= 1
    assert broken[:3] == ["2.txt", "", ""]
    assert broken[3].startswith("This is not an image")
    assert (red[:2], red[3]) == (["3.webp", "red"], "")


def test_csv_of_one_class_is_that_of_labels(network_store: Store, mixed: Path) -> None:
    options = (network_store, mixed, "--model", "colours")
    assert classified(*options, "--csv", "--top", 1) == classified(*options, "--labels")


def test_labels_by_a_server_have_the_same_rows(network_store: Store, mixed: Path, url: str) -> None:
    assert classified(network_store, mixed, "--labels", "--url", url) == [
        ["file", "label", "score", "error"],
        ["1.png", "blue", "0.900000", ""],
        ["2.txt", "", "", "This is not an image."],
        ["3.webp", "blue", "0.900000", ""],
    ]


def test_post_format_has_its_two_columns(network_store: Store, mixed: Path, url: str) -> None:
    header = ["Filename", "Predictions"]
    local = classified(network_store, mixed, "--model", "colours", "--post", "--top", 1)
    assert local == [header, ["1.png", "blue"], ["2.txt", ""], ["3.webp", "red"]]
    by_server = classified(network_store, mixed, "--post", "--url", url)
    assert by_server == [header, ["1.png", "0.100000"], ["2.txt", ""], ["3.webp", "0.100000"]]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [("*.png", ["blue.png"]), ("**/*.webp", ["red.webp"]), ("mor?", ["red.webp"]), ("*.gif", [])],
)
def test_glob_patterns_are_expanded(
    network_store: Store, images_folder: Path, pattern: str, expected: list[str]
) -> None:
    result = invoke(network_store, "classify", images_folder / pattern, "--model", "colours", "--json")
    assert [Path(json.loads(line)["file"]).name for line in result.stdout.splitlines()] == expected
    assert result.exit_code == (0 if expected else 1)


def test_image_from_standard_input(network_store: Store, images_folder: Path) -> None:
    command = [sys.executable, "-m", "models", "classify", "-", "--model", "colours", "--json"]
    data = (images_folder / "blue.png").read_bytes()
    process = subprocess.run(
        [*command, "--store", str(network_store.root)],
        cwd=ROOT,
        input=data,
        capture_output=True,
        check=False,
        timeout=100,
    )
    assert process.returncode == 0, process.stderr
    line = json.loads(process.stdout)
    assert (line["file"], line["predictions"][0]["label"]) == ("-", "blue")
