"""Whole runs, from a dataset to a classifier in the store, by the command that users call."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from models.artifacts import golden
from models.artifacts.catalog import load, load_extractor
from models.artifacts.store import DEFAULT_STORE, ClassifierArtifact, Store
from models.classifier import BatchItem, classify
from models.console.progress import silent
from models.errors import ModelsError
from models.manifests import CARD_FILE, GOLDEN_FILE, HEAD_FILE, ExtractorManifest
from tests.support import drawn
from tests.support.paths import ROOT
from tests.support.processes import server
from training import __main__ as command
from training.data import dataset as datasets
from training.errors import TrainingError
from training.evaluation import evaluate
from training.recipes.schema import Data, Recipe
from training.runtime.context import RunContext
from training.train import run

pytestmark = pytest.mark.timeout(300)

CIFAR10 = ROOT.parent / "shared" / "data" / "cifar10-jpeg.tar.gz"


class Place:
    """A store, a cache and a recipe of a test's own."""

    def __init__(self, folder: Path, data: Path, extractor: Path | None = None) -> None:
        """Start empty, or with a copy of the extractor of another place."""
        self.data, self.store, self.cache = data, Store(folder / "store"), folder / "cache"
        self.said: list[str] = []
        self.recipe = folder / "colours.toml"
        self.recipe.write_text(drawn.RECIPE)
        if extractor:
            shutil.copytree(extractor / "store" / "extractors", folder / "store" / "extractors")

    @property
    def options(self) -> list[str]:
        """Of the command line."""
        return ["--data", str(self.data), "--store", str(self.store.root), "--cache", str(self.cache)]

    def run(self, recipe: Recipe) -> ClassifierArtifact:
        """In this process."""
        at = RunContext(self.store, silent, self.said.append, self.data, self.cache)
        made = run(recipe, at)
        assert made.manifest.kind == "classifier"
        return self.store.classifier(made.manifest.name, made.manifest.version)

    def process(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`python -m WORDS run RECIPE OPTIONS`."""
        report = ["--report", str(self.cache.with_name("report"))]
        arguments = [sys.executable, "-m", *words, "run", str(self.recipe), *self.options, *report]
        return subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def first(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The folder of a place in which the command has run once, and what it wrote."""
    folder = tmp_path_factory.mktemp("first")
    return folder, Place(folder, colours).process("training")


@pytest.fixture
def place(tmp_path: Path, colours: Path, first: tuple[Path, object]) -> Place:
    """A place with the extractor, and nothing else."""
    return Place(tmp_path, colours, first[0])


def head_of(artifact: ClassifierArtifact) -> bytes:
    return artifact.read(HEAD_FILE)


def reference(first: tuple[Path, object]) -> ClassifierArtifact:
    return Store(first[0] / "store").classifier("colours", 1)


def test_from_start_to_classifier_by_one_command(
    first: tuple[Path, subprocess.CompletedProcess[str]], colours: Path
) -> None:
    folder, done = first
    assert done.returncode == 0, done.stderr
    store = Store(folder / "store")
    extractor, classifier = store.extractor("tiny_net"), store.classifier("colours")
    lines = done.stdout.splitlines()
    assert lines[:4] == [
        f"extractor tiny_net@1: {extractor.folder}",
        "fitting the xgboost head on 152 images",
        f"classifier colours@1: {classifier.folder}",
        f"report: {folder / 'report' / 'report.html'}",
    ]
    assert "test" in done.stdout.split("accuracy")[1], "the test report"
    assert [line.partition(" in ")[0] for line in done.stderr.splitlines()] == [
        "features of held-out images: 8 of 8 images",
        "features of training images: 152 of 152 images",
        "features of test set: 80 of 80 images",
    ]
    manifest = classifier.manifest
    assert manifest.classes == drawn.CLASSES
    assert manifest.metrics["test"].images == 80
    assert manifest.metrics["test"].accuracy > 0.9
    assert manifest.data == {
        "dataset": "colours",
        "digest": datasets.load(Data(path="colours"), colours).digest,
        "training_images": 160,
        "fitted_on_images": 152,
        "held_out_images": 8,
        "test_images": 80,
    }
    assert manifest.extractor.weights_sha256 == extractor.manifest.weights_sha256
    assert "Drawn by a test." in classifier.read(CARD_FILE).decode()
    assert "Drawn by a test." in extractor.read(CARD_FILE).decode()
    assert load(store).find("colours").classes == drawn.CLASSES


def test_a_second_run_makes_the_next_version_of_the_same_head(
    tmp_path: Path, colours: Path, first: tuple[Path, object]
) -> None:
    shutil.copytree(first[0], tmp_path, dirs_exist_ok=True)
    place = Place(tmp_path, colours)
    again = place.run(drawn.recipe())
    assert again.label == "colours@2"
    assert head_of(again) == head_of(reference(first)), "the same seed, another process"
    assert again.read(GOLDEN_FILE) == reference(first).read(GOLDEN_FILE)
    assert again.manifest.metrics == reference(first).manifest.metrics
    assert [each.label for each in place.store.extractors()] == ["tiny_net@1"]
    other = place.run(drawn.recipe(name="mine", head={"kind": "logistic"}))
    assert (other.label, other.manifest.name) == ("mine@1", "mine")


def cached_rows(place: Place) -> int:
    return sum(path.stat().st_size for path in place.cache.rglob("index.sha256")) // 32


@pytest.mark.parametrize(
    ("event", "part", "count", "rows"),
    [
        pytest.param("open", ".png", 240 + 216, range(64, 240), id="while features are extracted"),
        pytest.param("open", "/golden.npz", 3, range(240, 241), id="while the classifier is written"),
        pytest.param("os.rename", "/.writing-", 1, range(240, 241), id="before it is renamed into its place"),
    ],
)
def test_after_a_kill_the_same_command_goes_on(
    place: Place, first: tuple[Path, object], event: str, part: str, count: int, rows: range
) -> None:
    killed = place.process("tests.support.killed", event, part, str(count), "training")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert cached_rows(place) in rows
    assert place.store.classifiers() == [], "no half of a classifier"
    made = place.run(drawn.recipe())
    assert made.label == "colours@1"
    assert head_of(made) == head_of(reference(first))
    assert made.manifest.metrics == reference(first).manifest.metrics
    assert cached_rows(place) == 240
    assert [path.name for path in made.folder.parent.iterdir()] == ["1"], "what was left behind is gone"


def answers(place: Place, name: str) -> tuple[Any, Any]:
    """Golden pictures by the network as it is, and by the classifier."""
    (classifier,) = load(place.store, [name]).classifiers
    pictures = golden.synthetic_images(drawn.SIZE, 8, seed=4)
    rows = classify(classifier.extractor.engine, [BatchItem(pixels, (classifier,)) for pixels in pictures])
    return classifier.extractor.engine.run(pictures), np.stack([row[0] for row in rows])


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


def test_the_networks_own_top_can_be_the_head(tmp_path: Path, colours: Path) -> None:
    place = Place(tmp_path, colours)
    own = {"network": TOP, "extractor": {"name": "topped_net", "output": "colour"}, "head": {"kind": "softmax"}}
    made = place.run(drawn.recipe(**own, calibrate=False))
    network, found = answers(place, "colours")
    assert made.manifest.classes == drawn.CLASSES
    assert np.allclose(found, network["colour"][:, [3, 1, 2, 0]], atol=1e-6)
    alone = place.run(drawn.recipe(**own, name="alone", data=None))
    assert alone.manifest.classes == ("red", "green", "grey", "blue")
    assert alone.manifest.metrics == {}
    network, found = answers(place, "alone")
    assert np.allclose(found, network["colour"], atol=1e-6)
    calibrated = place.run(drawn.recipe(**own, name="calibrated"))
    assert calibrated.manifest.head.temperature != 1


def test_a_repeated_run_reads_what_the_first_one_measured_on_the_test_set(place: Place) -> None:
    once = drawn.recipe(head={"kind": "logistic"}, data={"path": "colours", "test_once": True})
    first, again = place.run(once), place.run(once)
    assert first.manifest.metrics["test"].images == 80
    assert again.manifest.metrics == first.manifest.metrics
    (said,) = [line for line in place.said if "is not measured again" in line]
    assert said.startswith(f"the test set was measured on {first.manifest.created} for colours@1")
    assert said.endswith("this is the same model, with the same figures")


def test_a_logistic_head_calibrated_and_fitted_again(place: Place) -> None:
    plain = place.run(drawn.recipe(head={"kind": "logistic"}, calibrate=False))
    again = place.run(drawn.recipe(head={"kind": "logistic"}, refit=True))
    assert (plain.manifest.head.kind, plain.manifest.head.temperature) == ("logistic", 1)
    assert again.manifest.head.temperature != 1
    assert (plain.manifest.data["fitted_on_images"], again.manifest.data["fitted_on_images"]) == (152, 160)
    assert head_of(plain) != head_of(again)
    assert place.said[-2] == "fitting it again on all 160 images"


def test_without_a_test_set_only_the_held_out_images_are_measured(place: Place, tmp_path: Path, colours: Path) -> None:
    shutil.copytree(colours / "train", tmp_path / "alone" / "train")
    place.data = tmp_path / "alone"
    made = place.run(drawn.recipe(data={"path": "colours", "test": ""}))
    assert set(made.manifest.metrics) == {"holdout"}
    assert made.manifest.data["test_images"] == 0


def test_probes_are_measured_where_they_are_there(place: Place, tmp_path: Path, colours: Path) -> None:
    around = tmp_path / "around"
    shutil.copytree(colours, around / "colours")
    drawn.colours(around / "painted", train=1, test=6, classes=("azure", "navy", "red"))
    place.data = around / "colours"
    renamed = {"azure": "blue", "navy": "blue"}
    probes: list[dict[str, Any]] = [
        {"name": "paintings", "path": "painted", "split": "test", "names": renamed},
        {"name": "photographs", "path": "nosuch", "split": "test"},
    ]
    made = place.run(drawn.recipe(probes=probes))
    assert set(made.manifest.metrics) == {"holdout", "test", "paintings"}
    assert made.manifest.metrics["paintings"].images == 18
    assert set(made.manifest.metrics["paintings"].accuracy_by_class) == {"blue", "red"}
    assert f"photographs: not measured, since there is no {around / 'nosuch'}" in place.said
    with pytest.raises(TrainingError, match="painted has a class 'azure' that colours has not"):
        place.run(drawn.recipe(probes=[probes[0] | {"names": {}}]))


def test_another_size_of_the_same_weights_is_another_extractor(place: Place) -> None:
    network = {"architecture": "small_cnn", "size": 32, "weights": "random"}
    assert place.run(drawn.recipe(network=network)).manifest.extractor.name == "tiny_net"
    assert [each.label for each in place.store.extractors()] == ["tiny_net@1"]
    place.run(drawn.recipe(network={**network, "tasks": TOP["tasks"]}))
    assert [each.label for each in place.store.extractors()] == ["tiny_net@2", "tiny_net@1"]


def test_a_run_without_a_head_makes_the_extractor_alone(place: Place) -> None:
    made = run(drawn.recipe(head=None, seed=5), RunContext(place.store, silent, print, place.data, place.cache))
    assert isinstance(made.manifest, ExtractorManifest)
    assert made.label == "tiny_net@2"
    assert load_extractor(made).manifest.outputs == {"pooled": 64}


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"name": "My Model"}, "'My Model' is no name for a model"),
        ({"extractor": {"name": "../up"}}, "'../up' is no name for a model"),
        ({"network": None, "extractor": {"name": "nosuch"}}, "There is no extractor nosuch in .* There is: tiny_net@1"),
        ({"network": None, "extractor": {"name": "tiny_net", "version": 7}}, "There is no extractor tiny_net@7"),
        (
            {"network": None, "extractor": {"name": "tiny_net", "output": "top"}},
            "tiny_net@1 has no output 'top'; it has",
        ),
        ({"preprocess": {"size": 64}}, r"tiny_net@1 takes 32 px, but preprocess\.size is 64"),
        ({"head": {"kind": "softmax"}}, "A softmax head needs a top of tiny_net@1, which 'pooled' is not; it has none"),
        ({"network": {"architecture": "resnet", "size": 32, "weights": "random"}}, "There is no network 'resnet'"),
        (
            {"network": {"architecture": "small_cnn", "size": 32, "weights": "no.h5"}},
            "No ImageNet weights .* small_cnn",
        ),
        ({"data": {"path": "colours", "train": "training"}}, "There is no folder .*training"),
        ({"data": {"path": "colours", "names": {"red": "blue"}}}, "Two classes are named 'blue'"),
    ],
)
def test_what_cannot_be_run_is_said_before_work_is_put_into_it(place: Place, parts: Any, expected: str) -> None:
    with pytest.raises((TrainingError, ModelsError), match=expected) as refused:
        place.run(drawn.recipe(**parts))
    assert "\n" not in str(refused.value)
    assert not place.cache.exists(), "no features were extracted"


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Call the command line in this process: exit code, standard output, standard error."""

    def main(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["training", *arguments])
        with pytest.raises(SystemExit) as ended:
            command.main()
        return int(ended.value.code or 0), *capsys.readouterr()

    return main


Call = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["run", "nosuch"], "There is no recipe 'nosuch'"),
        (["run", "RECIPE", "--data", "/nosuch"], "There is no dataset at /nosuch"),
        (["run", "RECIPE", "--weights", "/nosuch.safetensors"], "There is no weights file /nosuch.safetensors"),
        (["run", "RECIPE", "--passes", "3"], "colours does not fit its network"),
        (["run", "RECIPE", "--name", "[bold]/x"], "'[bold]/x' is no name for a model"),
        (["predict", "/nosuch", "--model", "colours"], "There are no pictures in /nosuch"),
        (["predict", "DATA", "--model", "nosuch"], "There is no classifier nosuch"),
        (["evaluate", "--model", "nosuch", "--data", "DATA"], "There is no classifier nosuch"),
        (["evaluate", "--model", "no@such", "--data", "DATA"], "'no@such' is no model: write NAME or NAME@VERSION"),
        (["evaluate", "--model", "colours", "--data", "/nosuch"], "There is no dataset at /nosuch"),
        (["evaluate", "--model", "colours", "--data", "DATA", "--split", "nosuch"], "There is no folder"),
        (["evaluate", "--model", "colours", "--data", "DATA", "--url", "http://127.0.0.1:9"], "No answer from"),
    ],
)
def test_an_error_of_use_is_one_line_and_exit_code_1(
    call: Call, tmp_path: Path, colours: Path, first: tuple[Path, object], arguments: list[str], expected: str
) -> None:
    recipe = tmp_path / "colours.toml"
    recipe.write_text(drawn.RECIPE)
    words = [{"RECIPE": str(recipe), "DATA": str(colours)}.get(word, word) for word in arguments]
    code, _, err = call(*words, "--store", str(first[0] / "store"), "--cache", str(tmp_path / "cache"))
    said = [line for line in err.splitlines() if not line.startswith("colours@1 on test")]
    assert code == 1
    assert len(said) == 1
    assert said[0].startswith(expected)


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"],
        ["run", "cifar10", "--passes", "-1"],
        ["evaluate", "--model", "colours"],
        ["evaluate", "--model", "colours", "--data", ".", "--rename", "red"],
        ["nosuch"],
    ],
)
def test_wrong_usage_is_exit_code_2(call: Call, first: tuple[Path, object], arguments: list[str]) -> None:
    store = ["--store", str(first[0] / "store")] if arguments[0] == "evaluate" else []
    code, _, err = call(*arguments, *store)
    assert code == 2
    assert "Traceback" not in err


def test_the_evaluation_gives_the_figures_of_the_manifest_and_a_report(
    call: Call, tmp_path: Path, colours: Path, first: tuple[Path, object]
) -> None:
    options = ["--model", "colours", "--data", str(colours), "--store", str(first[0] / "store")]
    code, out, err = call("evaluate", *options, "--json")
    assert code == 0, err
    expected = reference(first).manifest.metrics["test"].model_dump(mode="json")
    assert json.loads(out) == {
        name: pytest.approx(figure, abs=1e-6) if name != "accuracy_by_class" else figure
        for name, figure in expected.items()
    }
    reported = json.loads((tmp_path / "runs" / "colours-1-test" / "metrics.json").read_text())
    assert reported["accuracy"] == pytest.approx(expected["accuracy"])
    assert (tmp_path / "runs" / "colours-1-test" / "report.html").is_file()
    code, out, err = call("evaluate", *options, "--split", "train", "--report", str(tmp_path / "train"))
    assert code == 0, err
    assert "160" in out
    assert json.loads((tmp_path / "train" / "metrics.json").read_text())["images"] == 160


def test_predictions_are_written_and_what_is_no_picture_is_told(
    call: Call, tmp_path: Path, colours: Path, first: tuple[Path, object]
) -> None:
    shutil.copytree(colours / "test" / "red", tmp_path / "red")
    (tmp_path / "red" / "notes.txt").write_text("no picture")
    code, out, err = call(
        "predict",
        str(tmp_path / "red"),
        "--model",
        "colours",
        "--out",
        str(tmp_path / "out"),
        "--store",
        str(first[0] / "store"),
    )
    assert code == 1, "a file could not be read"
    assert "notes.txt: " in err
    assert f"{tmp_path / 'out' / 'results.csv'}: the likeliest class for 20 pictures" in out
    lines = (tmp_path / "out" / "results.csv").read_text().splitlines()
    assert lines[:2] == ["Filename,Predictions", "000.png,red"]
    assert len(lines) == 21


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not CIFAR10.is_file(), reason=f"needs {CIFAR10.relative_to(ROOT.parent)} beside the project")
def test_a_subset_of_real_images_becomes_a_classifier_that_is_served(tmp_path: Path) -> None:
    """In less than five minutes, on the extractor that is shipped."""
    shipped = DEFAULT_STORE / "extractors" / "inception_v3_96"
    if not shipped.is_dir():
        pytest.skip("needs the extractor inception_v3_96 in models/store")
    data, store = tmp_path / "cifar10", tmp_path / "store"
    unpack_some(data, train=100, test=30)
    shutil.copytree(shipped, store / "extractors" / shipped.name)
    options = ["--data", str(data), "--store", str(store), "--cache", str(tmp_path / "cache")]
    begun = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "training", "run", "cifar10", "--name", "mine", "--report", str(tmp_path), *options],
        cwd=ROOT,
        check=True,
    )
    assert time.monotonic() - begun < 300
    manifest = Store(store).classifier("mine").manifest
    assert manifest.metrics["test"].images == 300
    assert manifest.metrics["test"].accuracy > 0.6
    images = evaluate.labelled_split(data, "test", manifest, {})
    (classifier,) = load(Store(store)).classifiers
    with server("app", APP_STORE=str(store), APP_DEFAULT_MODEL="mine") as started:
        address = started.address(120)
        reply = httpx.post(f"{address}/v1/classify", content=images.paths[0].read_bytes(), timeout=30).json()
        served = evaluate.predict_by_http(address, manifest, images)
    assert reply["model"] == "mine"
    assert reply["predictions"][0]["label"] in manifest.classes
    assert np.abs(served - evaluate.predict(classifier, images)).max() < 0.2, "trees jump where a feature is at a split"
    assert (served.argmax(axis=1) == images.labels).mean() == pytest.approx(manifest.metrics["test"].accuracy, abs=0.02)


def unpack_some(folder: Path, **counts: int) -> None:
    """So many images of each class and split."""
    taken: Counter[str] = Counter()
    with tarfile.open(CIFAR10) as archive:
        for member in archive:
            kept = Path(member.name)
            if member.isfile() and taken[str(kept.parent)] < counts[kept.parts[0]]:
                taken[str(kept.parent)] += 1
                archive.extract(member, folder, filter="data")
