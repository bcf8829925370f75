"""One command trains a classifier on a user's own images, and a server serves it together with all others."""

from __future__ import annotations

import json
import os
import shutil
import sys
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
from models.heads import apply_temperature
from models.manifests import SEEN_FILE
from models.preprocess import default_decode_margin
from tests.support import colour_dataset, keras_store
from tests.support.manifests import CLASSES
from tests.support.polling import wait_until
from tests.support.processes import ServerProcess, server
from tests.support.undecodable_names import write_file
from training import __main__ as command
from training.estimators.kinds import FITTED_KINDS
from training.evaluation import evaluate, metrics
from training.evaluation.seen import SeenImages, to_keys
from training.ingest.photo_folder import read_photo_folder
from training.partition.record import Stage, Use
from training.recipes.load import RECIPES_FOLDER, load_recipe
from training.runtime.context import RunContext
from training.train import run

pytestmark = pytest.mark.timeout(300)

CLASSES_OF_FOLDER = ("blue", "red")

#: Parameters that are fitted quickly.
QUICK: dict[str, dict[str, Any]] = {kind: {} for kind in FITTED_KINDS} | {
    "dense": {"units": [8], "epochs": 2},
    "xgboost": {"n_estimators": 5},
}

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders without splits, and a file that is not an image."""
    folder = colour_dataset.write(tmp_path_factory.mktemp("own"), train=20, test=0, classes=CLASSES_OF_FOLDER) / "train"
    (folder / "red" / "notes.txt").write_text("not an image")
    return folder


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store, in which a small real network has the name of the shipped one."""
    workspace = tmp_path_factory.mktemp("workspace")
    keras_store.save_extractor(Store(workspace / "store"), name=load_recipe("own").extractor.name)
    return workspace


@pytest.fixture
def call(workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Call `run` without a recipe in this process; returns exit code, standard output and standard error."""

    def main(*words: str) -> tuple[int, str, str]:
        folders = ["--store", str(workspace / "store"), "--cache", str(workspace / "cache")]
        monkeypatch.setattr(sys, "argv", ["training", "run", *folders, *words])
        monkeypatch.chdir(workspace)
        with pytest.raises(SystemExit) as ended:
            command.main()
        return int(ended.value.code or 0), *capsys.readouterr()

    return main


def test_extractor_that_was_fitted_on_the_images_is_left_out(
    call: Call, image_folder: Path, workspace: Path, tmp_path: Path
) -> None:
    """Its features would be measured too well. Images that calibrated an engine count for nothing."""
    store = Store(Path(shutil.copytree(workspace / "store", tmp_path / "store")))
    images = read_photo_folder(image_folder, workspace / "cache", silent).dataset
    digests = to_keys([digest for split in images.splits.values() for digest in split.digests])
    for name, stage in (("fitted_net", Stage.NETWORK), ("calibrated_net", Stage.INT8)):
        seen = SeenImages({f"{Use.FIT}.{stage}": np.unique(digests)})
        keras_store.save_extractor(store, name=name, more_files={SEEN_FILE: seen.to_npz()})
    code, out, err = call("--data", str(image_folder), "--name", "chosen", "--store", str(store.root))
    assert code == 0, err
    assert "extractor fitted_net is left out: it was fitted on 100% of these images" in out
    tried = [trial["parameters"]["extractor"] for trial in store.classifier("chosen").manifest.tuning["trials"]]
    assert set(tried[:2]) == {"calibrated_net", load_recipe("own").extractor.name}


def load_version(workspace: Path, version: int) -> ClassifierArtifact:
    return Store(workspace / "store").classifier("mine", version)


def test_one_command_makes_a_classifier_and_its_report(call: Call, workspace: Path, image_folder: Path) -> None:
    code, out, err = call("--data", str(image_folder), "--name", "mine")
    assert code == 0, err
    assert "left out: red/notes.txt: This is not an image of a supported format" in out
    assert "2 classes, 32 training images, 8 images to measure" in out
    assert f"store: {workspace / 'store'}, from which servers load the result" in out
    manifest = load_version(workspace, 1).manifest
    assert manifest.classes == CLASSES_OF_FOLDER
    assert set(manifest.metrics) == {"cross-validated", "test"}
    assert manifest.metrics["cross-validated"].accuracy > 0.8
    assert manifest.metrics["test"].images == 8
    trials = manifest.tuning["trials"]
    assert {trial["parameters"]["source"] for trial in trials} == {32, 21, 10}
    assert {trial["parameters"]["head"] for trial in trials} == {"logistic", "ridge", "xgboost"}
    best = trials[manifest.tuning["best"]]
    assert {trial["parameters"]["mirror"] for trial in trials} == {False, True}
    assert best["parameters"]["extractor"] == manifest.extractor.name == load_recipe("own").extractor.name
    assert manifest.preprocess.decode_margin == default_decode_margin(manifest.preprocess.source_side)
    assert manifest.preprocess.mirror == best["parameters"]["mirror"]
    assert manifest.head.kind == manifest.recipe["head"]["kind"] == best["parameters"]["head"]
    assert manifest.preprocess.source == best["parameters"]["source"]
    assert (
        "fitted neither on it nor on images that look like it" in load_version(workspace, 1).read("README.md").decode()
    )
    figures = json.loads((workspace / "runs" / "mine-1" / "metrics.json").read_text())
    assert figures["accuracy"] == manifest.metrics["test"].accuracy
    assert "red/notes.txt" in (workspace / "runs" / "mine-1" / "report.html").read_text()


def test_served_probabilities_are_those_that_were_measured(call: Call, workspace: Path, image_folder: Path) -> None:
    """The loaded classifier has the temperature of the chosen candidate: without it, its log loss is another one."""
    manifest = load_version(workspace, 1).manifest
    (classifier,) = load(Store(workspace / "store"), ["mine"]).classifiers
    test_images = read_photo_folder(image_folder, workspace / "cache", silent).dataset.test
    assert test_images is not None
    probabilities = evaluate.predict(classifier, test_images)
    measured = metrics.measure(probabilities, test_images.labels, CLASSES_OF_FOLDER)
    assert measured.log_loss == pytest.approx(manifest.metrics["test"].log_loss, rel=1e-4)
    assert measured.accuracy == manifest.metrics["test"].accuracy
    assert classifier.head.temperature == manifest.head.temperature != 1.0
    uncalibrated = apply_temperature(probabilities, 1 / manifest.head.temperature)
    assert metrics.log_loss(uncalibrated, test_images.labels) != pytest.approx(measured.log_loss, rel=0.01)


def test_classifier_predicts_its_training_images(call: Call, workspace: Path, image_folder: Path) -> None:
    (classifier,) = load(Store(workspace / "store"), ["mine"]).classifiers
    images = evaluate.load_labelled_split(image_folder.parent, "train", classifier.manifest, {})
    usable = images.take(np.array([i for i, path in enumerate(images.images) if path.name != "notes.txt"]))
    assert (evaluate.predict(classifier, usable).argmax(axis=1) == usable.labels).mean() > 0.8


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        ([], 2, "name a recipe, or give the folder of your own images with --data"),
        (["--data", "/nosuch", "--name", "x"], 1, "There is no dataset at /nosuch"),
        (["--data", "EMPTY", "--name", "x"], 1, "holds no folders of images"),
        (["--data", "/photos/My Birds"], 1, "Give the classifier the name under which it is served"),
        (["own", "--data", "/photos/My Birds"], 1, "for example --name my_birds"),
        (["--data", "IMAGES", "--name", "My own"], 1, "'My own' is not a valid model name"),
        (["--data", "IMAGES", "--name", "x", "--weights", "x"], 1, "own makes no network"),
    ],
)
def test_user_error_is_a_message_and_not_a_traceback(
    call: Call, tmp_path: Path, image_folder: Path, words: list[str], code: int, expected: str
) -> None:
    folders = {"EMPTY": str(tmp_path), "IMAGES": str(image_folder)}
    ended, _, err = call(*(folders.get(word, word) for word in words))
    assert ended == code
    assert expected in " ".join(Text.from_ansi(err).plain.replace("│", "").split())
    assert "Traceback" not in err


def test_run_without_a_name_writes_nothing(call: Call, workspace: Path, image_folder: Path) -> None:
    before = Store(workspace / "store").fingerprint()
    for words in ([], ["own"], [str(RECIPES_FOLDER / "own.toml")]):
        code, _, err = call(*words, "--data", str(image_folder))
        assert code == 1
        assert len(err.splitlines()) == 1
        assert "--name train" in err
    assert Store(workspace / "store").fingerprint() == before


def test_classifier_that_is_not_published_is_in_a_store_of_its_own(
    call: Call, workspace: Path, image_folder: Path
) -> None:
    before = Store(workspace / "store").fingerprint()
    code, out, err = call("--data", str(image_folder), "--name", "draft", "--no-publish")
    assert code == 0, err
    assert Store(workspace / "store").fingerprint() == before
    report = workspace / "runs" / "draft-unpublished"
    assert f"--model draft --store {report / 'store'}" in out
    assert (report / "report.html").is_file()
    (classifier,) = load(Store(report / "store"), ["draft"]).classifiers
    assert classifier.classes == CLASSES_OF_FOLDER


def test_odd_names_of_files_and_folders_are_no_obstacle(call: Call, tmp_path: Path, image_folder: Path) -> None:
    folder = Path(write_file(tmp_path, b"k\xe4fer", b"")).with_name(os.fsdecode(b"gr\xfcn"))
    shutil.copytree(image_folder, folder)
    for path in sorted((folder / "red").glob("*.png")):
        path.rename(path.with_name(os.fsdecode(b"caf\xe9-" + os.fsencode(path.name))))
    (folder / "green").mkdir()
    code, out, err = call("--data", str(folder), "--name", "odd", "--no-publish", "--report", str(tmp_path / "report"))
    assert code == 0, err
    assert "left out: green: is an empty folder" in out
    manifest = Store(tmp_path / "report" / "store").classifier("odd").manifest
    assert manifest.data["dataset"] == r"gr\xfcn"
    assert manifest.metrics["test"].images == 8


@pytest.fixture(scope="module")
def store_with_all_heads(workspace: Path, colours: Path) -> Store:
    """A store with a classifier of each kind of head, and the one of the folder."""
    store, name = Store(workspace / "store"), load_recipe("own").extractor.name
    ctx = RunContext(store, silent, print, colours, workspace / "cache")
    for kind in FITTED_KINDS:
        head = {"kind": kind, **QUICK[kind]}
        run(colour_dataset.recipe(network=None, extractor={"name": name}, name=kind, head=head), ctx)
    top_dataset = colour_dataset.write(workspace / "tops", train=4, test=2, classes=CLASSES)
    softmax = {"extractor": {"name": name, "output": "colour"}, "head": {"kind": "softmax"}}
    run(colour_dataset.recipe(name="softmax", network=None, **softmax), replace(ctx, data_path=top_dataset))
    return store


@pytest.fixture(scope="module")
def serving(store_with_all_heads: Store) -> Iterator[ServerProcess]:
    with server(
        "app", APP_STORE=str(store_with_all_heads.root), APP_DEFAULT_MODEL="ridge", APP_STORE_POLL_S="0.1"
    ) as started:
        yield started


def test_one_server_serves_classifiers_of_all_kinds_at_once(
    serving: ServerProcess, store_with_all_heads: Store, colours: Path
) -> None:
    address = serving.address()
    names = sorted({artifact.manifest.name for artifact in store_with_all_heads.classifiers()})
    assert names == ["dense", "logistic", "mine", "ridge", "softmax", "xgboost"]
    red = (colours / "test" / "red" / "000.png").read_bytes()
    reply = httpx.post(f"{address}/v1/classify", params={"model": ",".join(names)}, content=red, timeout=60).json()
    assert [result["model"] for result in reply["results"]] == names
    for result in reply["results"]:
        assert sum(answer["score"] for answer in result["predictions"]) == pytest.approx(1, abs=1e-3)
        classes = {"softmax": CLASSES, "mine": CLASSES_OF_FOLDER}.get(result["model"], colour_dataset.CLASSES)
        assert {answer["label"] for answer in result["predictions"]} == set(classes)


def test_second_run_makes_the_same_head_and_the_server_loads_it(
    serving: ServerProcess, call: Call, workspace: Path, image_folder: Path
) -> None:
    address = serving.address()
    code, _, err = call("--data", str(image_folder), "--name", "mine", "--report", str(workspace / "again"))
    assert code == 0, err
    assert load_version(workspace, 2).manifest.head == load_version(workspace, 1).manifest.head
    assert load_version(workspace, 2).manifest.metrics == load_version(workspace, 1).manifest.metrics
    assert (workspace / "again" / "report.html").is_file()
    models = f"{address}/v1/models/mine"
    wait_until(lambda: bool(httpx.get(models, timeout=60).json()["version"] == 2), timeout_s=100)
    red = next((image_folder / "red").glob("*.png")).read_bytes()
    reply = httpx.post(f"{address}/v1/classify", params={"model": "mine"}, content=red, timeout=60)
    assert (reply.status_code, reply.json()["version"]) == (200, 2)
