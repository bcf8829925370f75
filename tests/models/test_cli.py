from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import pytest
from typer.testing import CliRunner, Result

from models.__main__ import app
from models.artifacts.store import Store
from models.console.output import OutputFormat, write
from models.errors import ModelsError
from models.manifests import HEAD_FILE
from tests.support import tiny_models as tiny
from tests.support.images import encode
from tests.support.paths import ROOT
from tests.support.tiny_models import CLASSES


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three photos, one of them in a folder; a hidden file that is none."""
    folder = tmp_path_factory.mktemp("photos")
    images, _ = tiny.pictures(each=1)
    kinds = {"blue.png": "PNG", "green ä.jpg": "JPEG", "more/red.webp": "WEBP"}
    for (name, kind), image in zip(kinds.items(), images, strict=False):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(encode(image, kind))
    (folder / ".hidden").write_text("no photo")
    return folder


def invoke(store: Store, command: str, *arguments: object) -> Result:
    """In this process; what `main` would print for an error of ours is raised."""
    return CliRunner().invoke(app, [command, *map(str, arguments), "--store", str(store.root)])


def run(store: Store, *arguments: object) -> subprocess.CompletedProcess[str]:
    """As a user runs it."""
    command = [sys.executable, "-m", "models", *map(str, arguments), "--store", str(store.root)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)


# --- the store


def test_list_names_every_classifier_with_its_accuracy_and_every_extractor(tiny_store: Store) -> None:
    result = invoke(tiny_store, "list")
    assert result.exit_code == 0
    for expected in ("colours", "own_top", "trees", "75.0% of 32", "tiny_net", "small_cnn", "32 px"):
        assert expected in result.stdout, f"the list does not show {expected}"


def test_list_of_an_empty_store_is_no_error(tmp_path: Path) -> None:
    assert invoke(Store(tmp_path), "list").exit_code == 0


@pytest.mark.parametrize("model", ["colours", "colours@1", "tiny_net", "tiny_net@1"])
def test_show_prints_the_card(tiny_store: Store, model: str) -> None:
    result = invoke(tiny_store, "show", model)
    assert result.exit_code == 0
    assert model.partition("@")[0] in result.stdout
    assert "Names colours" in result.stdout or "Knows nothing" in result.stdout


def test_show_of_an_unknown_model_is_an_error(tiny_store: Store) -> None:
    assert isinstance(invoke(tiny_store, "show", "dogs").exception, ModelsError)


def test_verify_names_each_artifact(tiny_store: Store) -> None:
    result = invoke(tiny_store, "verify")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("ok ") == 5


def test_verify_refuses_a_changed_byte_and_still_checks_the_rest(own_store: Store) -> None:
    path = own_store.classifier("trees").folder / HEAD_FILE
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    result = invoke(own_store, "verify")
    assert result.exit_code == 1
    assert result.stdout.count("ok ") == 4
    assert "refused  classifier trees@1" in result.output
    assert "head.pkl was changed" in result.output


# --- classify


def test_json_has_a_line_for_each_picture(tiny_store: Store, photos: Path) -> None:
    result = invoke(tiny_store, "classify", photos, "--model", "colours", "--json", "--top", 2)
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [Path(line["file"]).name for line in lines] == ["blue.png", "green ä.jpg", "red.webp"]
    assert [line["predictions"][0]["label"] for line in lines] == ["blue", "green", "red"]
    for line in lines:
        first, second = line["predictions"]
        assert first["score"] >= second["score"]
        assert first["label"] == CLASSES[first["index"]]


def test_csv_has_a_line_for_each_class_of_each_picture(tiny_store: Store, photos: Path) -> None:
    result = invoke(tiny_store, "classify", photos, "--model", "trees", "--csv", "--top", 3)
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert len(rows) == 9
    assert {row["label"] for row in rows} <= set(CLASSES)
    assert all(0 <= float(row["score"]) <= 1 for row in rows)
    assert rows[0]["file"].endswith("blue.png")


def test_the_table_names_each_picture_and_its_classes(tiny_store: Store, photos: Path) -> None:
    result = invoke(tiny_store, "classify", photos / "blue.png", "--model", "own_top", "--top", 4)
    assert result.exit_code == 0, result.output
    assert "blue.png" in result.stdout
    assert all(label in result.stdout for label in CLASSES)
    assert "%" in result.stdout


def test_the_table_is_aligned_whatever_the_script_of_the_labels(capsys: pytest.CaptureFixture[str]) -> None:
    write([("a.jpg", [("猫", 0, 0.75), ("dog", 1, 0.2), ("owl", 2, 0.001)]), ("b.jpg", [])], OutputFormat.TABLE)
    assert capsys.readouterr().out.splitlines() == [
        "a.jpg",
        " 猫    75.0%  " + "█" * 22,
        " dog   20.0%  " + "█" * 6,
        " owl    0.1%",
        "b.jpg",
    ]


def test_a_threshold_may_leave_no_class(tiny_store: Store, photos: Path) -> None:
    result = invoke(tiny_store, "classify", photos / "blue.png", "--model", "colours", "--json", "--threshold", 1)
    assert json.loads(result.stdout)["predictions"] == []


def test_a_broken_picture_is_told_at_the_end_and_the_rest_is_done(
    tiny_store: Store, photos: Path, tmp_path: Path
) -> None:
    broken, missing = tmp_path / "broken [red].jpg", tmp_path / "missing.jpg"
    broken.write_bytes(encode(tiny.pictures()[0][0], "JPEG")[:300])
    result = invoke(tiny_store, "classify", broken, photos, missing, "--model", "colours", "--json")
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 3, "the other pictures have to be classified all the same"
    assert f"{broken}: This JPEG image cannot be decoded" in result.stderr
    assert f"{missing}: No such file or directory" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--json", "--csv"],
        ["--labels", "--csv"],
        ["--top", "0"],
        ["--threshold", "2"],
        ["--colour"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_2(tiny_store: Store, photos: Path, arguments: list[str]) -> None:
    assert invoke(tiny_store, "classify", photos, *arguments).exit_code == 2


# --- as a process


def test_a_process_classifies(tiny_store: Store, photos: Path) -> None:
    done = run(tiny_store, "classify", photos / "blue.png", "--model", "colours@1", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["predictions"][0]["label"] == "blue"
    assert done.stderr == "", "a library's chatter does not belong on the screen"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["show", "dogs"], 1, "There is no extractor dogs"),
        (["show", "a@b"], 1, "'a@b' is no model: write NAME or NAME@VERSION"),
        (["classify", "x.jpg", "--model", "dogs"], 1, "There is no classifier dogs"),
        (["classify"], 2, "Missing argument"),
        (["paint"], 2, "No such command"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_errors_of_use_are_short(tiny_store: Store, arguments: list[str], code: int, said: str) -> None:
    done = run(tiny_store, *arguments)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    if code == 1:
        assert len(done.stderr.strip().splitlines()) == 1


def test_a_damaged_store_is_one_line(own_store: Store) -> None:
    (own_store.classifier("trees").folder / "manifest.json").write_bytes(b"{}")
    for command in ("list", "verify"):
        done = run(own_store, command)
        assert done.returncode == 1
        assert len(done.stderr.strip().splitlines()) == 1
        assert "manifest.json was changed or is damaged" in done.stderr


def test_a_folder_without_pictures_is_told(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["classify", str(tmp_path)])
    assert result.exit_code == 1
    assert "There are no pictures in" in result.output


# --- by a server


class Answers(BaseHTTPRequestHandler):
    """Answers as the service does; busy for the first request, and with words of its own for a broken picture."""

    seen: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        Answers.seen.append(self.path)
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if len(Answers.seen) == 1:
            self._send(503, {"detail": "busy"}, {"Retry-After": "0"})
        elif data.startswith(b"broken"):
            self._send(415, {"detail": "This is not an image."})
        else:
            predictions = [{"label": "blue", "index": 0, "score": 0.9}, {"label": "red", "index": 2, "score": 0.1}]
            self._send(200, {"model": "colours", "version": 1, "predictions": predictions})

    def _send(self, status: int, body: dict[str, Any], headers: Mapping[str, str] = MappingProxyType({})) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def url() -> Iterator[str]:
    Answers.seen.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_a_server_can_be_asked_instead(tiny_store: Store, photos: Path, tmp_path: Path, url: str) -> None:
    broken = tmp_path / "letter.txt"
    broken.write_bytes(b"broken")
    result = invoke(
        tiny_store,
        "classify",
        photos,
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
    assert [Path(line["file"]).name for line in lines] == ["blue.png", "green ä.jpg", "red.webp"]
    assert all(line["predictions"] == [{"label": "blue", "index": 0, "score": 0.9}] for line in lines)
    assert f"{broken}: This is not an image." in result.stderr
    assert all("model=colours%401&top_k=2" in path for path in Answers.seen)


def test_a_server_that_is_not_there_is_one_line(tiny_store: Store, photos: Path) -> None:
    done = run(tiny_store, "classify", photos, "--url", "http://127.0.0.1:9")
    assert done.returncode == 1
    assert "No answer from http://127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr


# --- which pictures


def test_labels_are_two_columns(tiny_store: Store, photos: Path) -> None:
    result = invoke(tiny_store, "classify", photos, "--model", "colours", "--labels")
    rows = list(csv.reader(io.StringIO(result.stdout)))
    assert rows[0] == ["Filename", "Predictions"]
    assert [(Path(name).name, label) for name, label in rows[1:]] == [
        ("blue.png", "blue"),
        ("green ä.jpg", "green"),
        ("red.webp", "red"),
    ]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [("*.png", ["blue.png"]), ("**/*.webp", ["red.webp"]), ("mor?", ["red.webp"]), ("*.gif", [])],
)
def test_patterns_are_replaced_where_no_shell_did(
    tiny_store: Store, photos: Path, pattern: str, expected: list[str]
) -> None:
    result = invoke(tiny_store, "classify", photos / pattern, "--model", "colours", "--json")
    assert [Path(json.loads(line)["file"]).name for line in result.stdout.splitlines()] == expected
    assert result.exit_code == (0 if expected else 1)


def test_a_picture_may_come_from_standard_input(tiny_store: Store, photos: Path) -> None:
    command = [sys.executable, "-m", "models", "classify", "-", "--model", "colours", "--json"]
    picture = (photos / "blue.png").read_bytes()
    done = subprocess.run(
        [*command, "--store", str(tiny_store.root)],
        cwd=ROOT,
        input=picture,
        capture_output=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["file"], answer["predictions"][0]["label"]) == ("-", "blue")
