"""Complete runs, from a dataset to a classifier in the store."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.artifacts import golden
from models.artifacts.catalog import load, load_extractor
from models.artifacts.store import ClassifierArtifact, Store
from models.classifier import BatchItem, classify
from models.console.progress import silent
from models.errors import ModelsError
from models.manifests import CARD_FILE, GOLDEN_FILE, HEAD_FILE, ExtractorManifest
from tests.support import colour_dataset
from tests.support.killed import interrupted_at
from tests.support.training_workspace import FirstRun, Workspace
from training.data.dataset import load_dataset
from training.errors import TrainingError
from training.recipes.data import DatasetSpec
from training.runtime.context import RunContext
from training.train import run

pytestmark = pytest.mark.timeout(300)


def head_of(artifact: ClassifierArtifact) -> bytes:
    return artifact.read(HEAD_FILE)


def reference(first: FirstRun) -> ClassifierArtifact:
    return Store(first[0] / "store").classifier("colours", 1)


def test_entries_of_the_dataset_that_are_not_used_are_logged_once(workspace: Workspace, colours: Path) -> None:
    workspace.data = Path(shutil.copytree(colours, workspace.cache.with_name("colours")))
    (workspace.data / "train" / "violet").mkdir()
    (workspace.data / "notes.txt").touch()
    workspace.run(colour_dataset.recipe())
    assert [line for line in workspace.lines if line.startswith("left out")] == [
        "left out: notes.txt: is not in a split of the recipe",
        "left out: train/violet: is an empty folder",
    ]


def test_one_command_makes_extractor_classifier_and_report(first: FirstRun, colours: Path) -> None:
    folder, process = first
    assert process.returncode == 0, process.stderr
    store = Store(folder / "store")
    extractor, classifier = store.extractor("tiny_net"), store.classifier("colours")
    lines = process.stdout.splitlines()
    assert lines[:5] == [
        f"store: {store.root}, from which servers load the result",
        f"extractor tiny_net@1: {extractor.folder}",
        "fitting the xgboost head on 152 images",
        f"classifier colours@1: {classifier.folder}",
        f"report: {folder / 'report' / 'report.html'}",
    ]
    assert "test" in process.stdout.split("accuracy")[1], "the table of metrics"
    assert [line.partition(" in ")[0] for line in process.stderr.splitlines()] == [
        "near duplicates: 240 of 240 images",
        "features of held-out images: 8 of 8 images",
        "features of training images: 152 of 152 images",
        "features of test set: 80 of 80 images",
    ]
    manifest = classifier.manifest
    assert manifest.classes == colour_dataset.CLASSES
    assert manifest.metrics["test"].images == 80
    assert manifest.metrics["test"].accuracy > 0.9
    assert manifest.data == {
        "dataset": "colours",
        "digest": load_dataset(DatasetSpec(path="colours"), colours).digest,
        "training_images": 160,
        "fitted_on_images": 152,
        "held_out_images": 8,
        "excluded_near_duplicates": 0,
        "test_images": 80,
    }
    assert manifest.extractor.weights_sha256 == extractor.manifest.weights_sha256
    assert "Drawn by a test." in classifier.read(CARD_FILE).decode()
    assert "Drawn by a test." in extractor.read(CARD_FILE).decode()
    assert load(store).find("colours").classes == colour_dataset.CLASSES


def test_second_run_makes_the_next_version_of_the_same_head(tmp_path: Path, colours: Path, first: FirstRun) -> None:
    shutil.copytree(first[0], tmp_path, dirs_exist_ok=True)
    workspace = Workspace(tmp_path, colours)
    again = workspace.run(colour_dataset.recipe())
    assert again.label == "colours@2"
    assert head_of(again) == head_of(reference(first)), "same seed, other process"
    assert again.read(GOLDEN_FILE) == reference(first).read(GOLDEN_FILE)
    assert again.manifest.metrics == reference(first).manifest.metrics
    assert [each.label for each in workspace.store.extractors()] == ["tiny_net@1"]
    other = workspace.run(colour_dataset.recipe(name="mine", head={"kind": "logistic"}))
    assert (other.label, other.manifest.name) == ("mine@1", "mine")


def cached_rows(workspace: Workspace) -> int:
    return sum(path.stat().st_size for path in workspace.cache.rglob("index.sha256")) // 32


@pytest.mark.parametrize(
    ("event", "part", "count"),
    [
        pytest.param("open", "/golden.npz", 3, id="while the classifier is written"),
        pytest.param("os.rename", "/.writing-", 1, id="before the classifier is renamed"),
    ],
)
def test_interrupted_run_resumes_with_the_same_command(
    workspace: Workspace, first: FirstRun, event: str, part: str, count: int
) -> None:
    with interrupted_at(event, part, count):
        workspace.run(colour_dataset.recipe())
    check_resumed_run(workspace, first, range(240, 241))


def test_killed_run_resumes_with_the_same_command(workspace: Workspace, first: FirstRun) -> None:
    """The process is killed while it extracts features."""
    killed = workspace.run_process("tests.support.killed", "open", ".png", str(240 + 240 + 216), "training")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    check_resumed_run(workspace, first, range(64, 240))


def check_resumed_run(workspace: Workspace, first: FirstRun, rows: range) -> None:
    """Run again after an interruption that left so many rows in the cache, and compare with an uninterrupted run."""
    assert cached_rows(workspace) in rows
    assert workspace.store.classifiers() == [], "no incomplete classifier"
    artifact = workspace.run(colour_dataset.recipe())
    assert artifact.label == "colours@1"
    assert head_of(artifact) == head_of(reference(first))
    assert artifact.manifest.metrics == reference(first).manifest.metrics
    assert cached_rows(workspace) == 240
    assert [path.name for path in artifact.folder.parent.iterdir()] == ["1"], (
        "temporary files of the killed run are deleted"
    )


def run_network_and_classifier(workspace: Workspace, name: str) -> tuple[Any, Any]:
    """Return the outputs of the network and of the classifier for the same images."""
    (classifier,) = load(workspace.store, [name]).classifiers
    images = golden.synthetic_images(colour_dataset.SIZE, 8, seed=4)
    rows = classify(classifier.extractor.engine, [BatchItem(pixels, (classifier,)) for pixels in images])
    return classifier.extractor.engine.run(images), np.stack([row[0] for row in rows])


TOP: dict[str, Any] = {
    "architecture": "small_cnn",
    "size": 32,
    "weights": "random",
    "tasks": [
        {
            "top": "colour",
            "data": {"path": "colours"},
            "preprocess": {"size": 32},
            "batch": 8,
            "classes": ["red", "green", "grey", "blue"],
        }
    ],
}


def test_top_of_the_network_can_be_the_head(tmp_path: Path, colours: Path) -> None:
    workspace = Workspace(tmp_path, colours)
    softmax = {"network": TOP, "extractor": {"name": "topped_net", "output": "colour"}, "head": {"kind": "softmax"}}
    artifact = workspace.run(colour_dataset.recipe(**softmax, calibrate=False))
    outputs, probabilities = run_network_and_classifier(workspace, "colours")
    assert artifact.manifest.classes == colour_dataset.CLASSES
    assert np.allclose(probabilities, outputs["colour"][:, [3, 1, 2, 0]], atol=1e-6)
    alone = workspace.run(colour_dataset.recipe(**softmax, name="alone", data=None))
    assert alone.manifest.classes == ("red", "green", "grey", "blue")
    assert alone.manifest.metrics == {}
    outputs, probabilities = run_network_and_classifier(workspace, "alone")
    assert np.allclose(probabilities, outputs["colour"], atol=1e-6)
    calibrated = workspace.run(colour_dataset.recipe(**softmax, name="calibrated"))
    assert calibrated.manifest.head.temperature != 1


def test_repeated_run_reports_the_first_test_metrics(workspace: Workspace) -> None:
    once = colour_dataset.recipe(head={"kind": "logistic"}, data={"path": "colours", "test_once": True})
    first, again = workspace.run(once), workspace.run(once)
    assert first.manifest.metrics["test"].images == 80
    assert again.manifest.metrics == first.manifest.metrics
    (line,) = [line for line in workspace.lines if "is not measured again" in line]
    assert line.startswith(f"the test set was measured on {first.manifest.created} for colours@1")
    assert line.endswith("this is the same model with the same metrics")


def test_logistic_head_is_calibrated_and_refitted(workspace: Workspace) -> None:
    plain = workspace.run(colour_dataset.recipe(head={"kind": "logistic"}, calibrate=False))
    again = workspace.run(colour_dataset.recipe(head={"kind": "logistic"}, refit=True))
    assert (plain.manifest.head.kind, plain.manifest.head.temperature) == ("logistic", 1)
    assert again.manifest.head.temperature != 1
    assert (plain.manifest.data["fitted_on_images"], again.manifest.data["fitted_on_images"]) == (152, 160)
    assert head_of(plain) != head_of(again)
    assert workspace.lines[-2] == "fitting it again on all 160 images"


def test_without_a_test_set_only_held_out_images_are_measured(
    workspace: Workspace, tmp_path: Path, colours: Path
) -> None:
    shutil.copytree(colours / "train", tmp_path / "alone" / "train")
    workspace.data = tmp_path / "alone"
    artifact = workspace.run(colour_dataset.recipe(data={"path": "colours", "test": ""}))
    assert set(artifact.manifest.metrics) == {"holdout"}
    assert artifact.manifest.data["test_images"] == 0


def test_probes_are_measured_if_they_exist(workspace: Workspace, tmp_path: Path, colours: Path) -> None:
    parent = tmp_path / "parent"
    shutil.copytree(colours, parent / "colours")
    colour_dataset.write(parent / "painted", train=1, test=6, classes=("azure", "navy", "red"))
    workspace.data = parent / "colours"
    renamed = {"azure": "blue", "navy": "blue"}
    probes: list[dict[str, Any]] = [
        {"name": "paintings", "path": "painted", "split": "test", "names": renamed},
        {"name": "photos", "path": "nosuch", "split": "test"},
    ]
    artifact = workspace.run(colour_dataset.recipe(probes=probes))
    assert set(artifact.manifest.metrics) == {"holdout", "test", "paintings"}
    assert artifact.manifest.metrics["paintings"].images == 18
    assert set(artifact.manifest.metrics["paintings"].accuracy_by_class) == {"blue", "red"}
    assert f"photos: not measured, since there is no {parent / 'nosuch'}" in workspace.lines
    with pytest.raises(TrainingError, match="painted has a class 'azure' that colours does not have"):
        workspace.run(colour_dataset.recipe(probes=[probes[0] | {"names": {}}]))


def test_equal_weights_are_saved_once_and_others_as_a_new_version(workspace: Workspace) -> None:
    network = {"architecture": "small_cnn", "size": 32, "weights": "random"}
    assert workspace.run(colour_dataset.recipe(network=network)).manifest.extractor.name == "tiny_net"
    assert [each.label for each in workspace.store.extractors()] == ["tiny_net@1"]
    workspace.run(colour_dataset.recipe(network={**network, "tasks": TOP["tasks"]}))
    assert [each.label for each in workspace.store.extractors()] == ["tiny_net@2", "tiny_net@1"]


def test_run_without_a_head_makes_only_the_extractor(workspace: Workspace) -> None:
    artifact = run(
        colour_dataset.recipe(head=None, seed=5),
        RunContext(workspace.store, silent, print, workspace.data, workspace.cache),
    )
    assert isinstance(artifact.manifest, ExtractorManifest)
    assert artifact.label == "tiny_net@2"
    assert load_extractor(artifact).manifest.outputs == {"pooled": 64}


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"name": "My Model"}, "'My Model' is not a valid model name"),
        ({"extractor": {"name": "../up"}}, "'../up' is not a valid model name"),
        (
            {"network": None, "extractor": {"name": "nosuch"}},
            "There is no extractor nosuch in .* Available: tiny_net@1",
        ),
        ({"network": None, "extractor": {"name": "tiny_net", "version": 7}}, "There is no extractor tiny_net@7"),
        (
            {"network": None, "extractor": {"name": "tiny_net", "output": "top"}},
            "tiny_net@1 has no output 'top'; it has",
        ),
        ({"preprocess": {"size": 64}}, r"tiny_net@1 takes 32 px, but preprocess\.size is 64"),
        ({"head": {"kind": "softmax"}}, "A softmax head needs a softmax output of tiny_net@1; 'pooled' is not one"),
        ({"network": {"architecture": "resnet", "size": 32, "weights": "random"}}, "Unknown network 'resnet'"),
        (
            {"network": {"architecture": "small_cnn", "size": 32, "weights": "no.h5"}},
            "No ImageNet weights .* small_cnn",
        ),
        ({"data": {"path": "colours", "train": "nosuch"}}, "There is no folder .*nosuch"),
        ({"data": {"path": "colours", "names": {"red": "blue"}}}, "Two classes are named 'blue'"),
    ],
)
def test_invalid_recipe_is_rejected_before_any_work(workspace: Workspace, parts: Any, expected: str) -> None:
    with pytest.raises((TrainingError, ModelsError), match=expected) as raised:
        workspace.run(colour_dataset.recipe(**parts))
    assert "\n" not in str(raised.value)
    assert not workspace.cache.exists(), "no features were extracted"
