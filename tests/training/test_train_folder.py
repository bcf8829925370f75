"""Somebody's own photographs become a classifier by one command, and a server serves it beside all others."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from rich.text import Text

from models.artifacts.catalog import load
from models.artifacts.store import ClassifierArtifact, Store
from models.console.progress import silent
from tests.support import drawn
from tests.support import tiny_models as tiny
from tests.support.processes import ServerProcess, server
from training import __main__ as command
from training.estimators.heads import FITTED_KINDS
from training.evaluation import evaluate
from training.recipes import schema as recipe
from training.runtime.context import RunContext
from training.train import run

pytestmark = pytest.mark.timeout(300)

OWN = ("blue", "red")

#: Parameters that take no time.
QUICK: dict[str, dict[str, Any]] = {kind: {} for kind in FITTED_KINDS} | {
    "dense": {"units": [8], "epochs": 2},
    "xgboost": {"n_estimators": 5},
}

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders without splits, and a file that is no picture."""
    folder = drawn.colours(tmp_path_factory.mktemp("own"), train=20, test=0, classes=OWN) / "train"
    (folder / "red" / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which a small real network bears the name of the shipped one."""
    place = tmp_path_factory.mktemp("place")
    tiny.save_extractor(Store(place / "store"), name=recipe.load("own").extractor.name)
    return place


@pytest.fixture
def call(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Call `run` without a recipe in this process: exit code, standard output, standard error."""

    def main(*words: str) -> tuple[int, str, str]:
        places = ["--store", str(place / "store"), "--cache", str(place / "cache")]
        monkeypatch.setattr(sys, "argv", ["training", "run", *places, *words])
        monkeypatch.chdir(place)
        with pytest.raises(SystemExit) as ended:
            command.main()
        return int(ended.value.code or 0), *capsys.readouterr()

    return main


def made(place: Path, version: int) -> ClassifierArtifact:
    return Store(place / "store").classifier("mine", version)


def test_one_command_makes_a_classifier_and_its_report(call: Call, place: Path, photographs: Path) -> None:
    code, out, err = call("--data", str(photographs), "--name", "mine")
    assert code == 0, err
    assert "left out: red/notes.txt: This is not an image of a kind we read" in out
    assert "2 classes, 32 photographs to learn from, 8 to measure with" in out
    manifest = made(place, 1).manifest
    assert manifest.classes == OWN
    assert set(manifest.metrics) == {"cross-validated", "test"}
    assert manifest.metrics["cross-validated"].accuracy > 0.8
    assert manifest.metrics["test"].images == 8
    trials = manifest.tuning["trials"]
    assert {trial["parameters"]["source"] for trial in trials} == {32, 21, 10}
    assert {trial["parameters"]["head"] for trial in trials} == {"logistic", "ridge", "xgboost"}
    best = trials[manifest.tuning["best"]]
    assert {trial["parameters"]["mirror"] for trial in trials} == {False, True}
    alike = [trial for trial in trials if trial["parameters"]["mirror"] == best["parameters"]["mirror"]]
    assert best["log_loss"] == min(trial["log_loss"] for trial in alike)
    assert manifest.preprocess.mirror == best["parameters"]["mirror"]
    assert manifest.head.kind == manifest.recipe["head"]["kind"] == best["parameters"]["head"]
    assert manifest.preprocess.source == best["parameters"]["source"]
    assert "had seen neither it nor what looks like it" in made(place, 1).read("README.md").decode()
    figures = json.loads((place / "runs" / "mine-1" / "metrics.json").read_text())
    assert figures["accuracy"] == manifest.metrics["test"].accuracy
    assert "red/notes.txt" in (place / "runs" / "mine-1" / "report.html").read_text()


def test_the_classifier_answers_its_photographs(call: Call, place: Path, photographs: Path) -> None:
    (classifier,) = load(Store(place / "store"), ["mine"]).classifiers
    images = evaluate.labelled_split(photographs.parent, "train", classifier.manifest, {})
    usable = images.take(np.array([i for i, path in enumerate(images.paths) if path.name != "notes.txt"]))
    assert (evaluate.predict(classifier, usable).argmax(axis=1) == usable.labels).mean() > 0.8


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        ([], 2, "name a recipe, or say with --data where your own photographs lie"),
        (["--data", "/nosuch"], 1, "There is no dataset at /nosuch"),
        (["--data", "EMPTY"], 1, "holds no folders of images"),
        (["--data", "PHOTOGRAPHS", "--name", "My own"], 1, "'My own' is no name for a model"),
        (["--data", "PHOTOGRAPHS", "--weights", "x"], 1, "own makes no network"),
    ],
)
def test_an_error_of_use_is_told_and_never_a_traceback(
    call: Call, tmp_path: Path, photographs: Path, words: list[str], code: int, expected: str
) -> None:
    places = {"EMPTY": str(tmp_path), "PHOTOGRAPHS": str(photographs)}
    ended, _, err = call(*(places.get(word, word) for word in words))
    assert ended == code
    assert expected in " ".join(Text.from_ansi(err).plain.replace("│", "").split())
    assert "Traceback" not in err


@pytest.fixture(scope="module")
def all_made(place: Path, colours: Path) -> Store:
    """Beside one's own, a classifier of each kind of head."""
    store, name = Store(place / "store"), recipe.load("own").extractor.name
    at = RunContext(store, silent, print, colours, place / "cache")
    for kind in FITTED_KINDS:
        head = {"kind": kind, **QUICK[kind]}
        run(drawn.recipe(network=None, extractor={"name": name}, name=kind, head=head), at)
    of_the_top = drawn.colours(place / "tops", train=4, test=2, classes=tiny.CLASSES)
    own_top = {"extractor": {"name": name, "output": "colour"}, "head": {"kind": "softmax"}}
    run(drawn.recipe(name="softmax", network=None, **own_top), replace(at, location=of_the_top))
    return store


@pytest.fixture(scope="module")
def serving(all_made: Store) -> Iterator[ServerProcess]:
    with server("app", APP_STORE=str(all_made.root), APP_DEFAULT_MODEL="ridge", APP_STORE_POLL_S="0.1") as started:
        yield started


def test_every_classifier_made_here_is_served_by_one_server_at_once(
    serving: ServerProcess, all_made: Store, colours: Path
) -> None:
    address = serving.address()
    names = sorted({artifact.manifest.name for artifact in all_made.classifiers()})
    assert names == ["dense", "logistic", "mine", "ridge", "softmax", "xgboost"]
    red = (colours / "test" / "red" / "000.png").read_bytes()
    reply = httpx.post(f"{address}/v1/classify", params={"model": ",".join(names)}, content=red, timeout=60).json()
    assert [each["model"] for each in reply["results"]] == names
    for each in reply["results"]:
        assert sum(answer["score"] for answer in each["predictions"]) == pytest.approx(1, abs=1e-3)
        known = {"softmax": tiny.CLASSES, "mine": OWN}.get(each["model"], drawn.CLASSES)
        assert {answer["label"] for answer in each["predictions"]} == set(known)


def test_run_again_it_makes_the_same_head_which_the_running_server_takes_up(
    serving: ServerProcess, call: Call, place: Path, photographs: Path
) -> None:
    address = serving.address()
    code, _, err = call("--data", str(photographs), "--name", "mine", "--report", str(place / "again"))
    assert code == 0, err
    assert made(place, 2).manifest.head == made(place, 1).manifest.head
    assert made(place, 2).manifest.metrics == made(place, 1).manifest.metrics
    assert (place / "again" / "report.html").is_file()
    until = time.monotonic() + 100
    version = 1
    while version == 1 and time.monotonic() < until:
        version = httpx.get(f"{address}/v1/models/mine", timeout=60).json()["version"]
        time.sleep(0.05)
    red = next((photographs / "red").glob("*.png")).read_bytes()
    reply = httpx.post(f"{address}/v1/classify", params={"model": "mine"}, content=red, timeout=60)
    assert (reply.status_code, reply.json()["version"]) == (200, 2)
