"""The softmax of a network as a head: calibrated on photographs of some of its classes, without a training set."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.artifacts.catalog import load
from models.artifacts.store import ClassifierArtifact, Store
from models.console.progress import silent
from models.heads import apply_temperature
from models.hierarchy import Hierarchy
from models.manifests import CARD_FILE
from tests.support import colour_dataset
from tests.support.paths import ROOT
from training.errors import DatasetError, RecipeError
from training.evaluation.evaluate import load_labelled_split, predict
from training.evaluation.metrics import fit_temperature
from training.evaluation.seen import seen_by_artifact
from training.recipes.load import load_recipe
from training.recipes.parents import read_parents
from training.recipes.schema import Recipe
from training.runtime.context import RunContext
from training.train import run
from training.weights.imagenet_classes import imagenet_classes

CALIBRATION = {"split": "valid", "test": "test", "names": {"navy": "blue", "azure": "blue"}}


def recipe(**parts: Any) -> Recipe:
    parts = {"calibration": CALIBRATION, "data": None, "network": None, **parts}
    return colour_dataset.recipe(
        **{"extractor": {"name": "top_net", "output": "colour"}, "head": {"kind": "softmax"}, "name": "top", **parts}
    )


@pytest.fixture(scope="module")
def extractor_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Return a store with an extractor whose top has four colours."""
    folder = tmp_path_factory.mktemp("extractor")
    task = {"top": "colour", "data": {"path": "colours"}, "preprocess": {"size": 32}, "batch": 8}
    classes = ["red", "green", "grey", "blue"]
    network = {"architecture": "small_cnn", "size": 32, "weights": "random", "tasks": [{**task, "classes": classes}]}
    ctx = RunContext(Store(folder / "store"), silent, print, folder, folder / "cache")
    colour_dataset.write(folder / "colours", train=1, test=1)
    run(recipe(network=network, head=None, calibration=None), ctx)
    return ctx.store


@pytest.fixture
def ctx(extractor_store: Store, tmp_path: Path) -> RunContext:
    store = Store(Path(shutil.copytree(extractor_store.root, tmp_path / "store")))
    return RunContext(store, silent, print, photographs(tmp_path), tmp_path / "cache")


def photographs(folder: Path) -> Path:
    """Write images to calibrate and to measure, of two of the four classes; one of them has two folders."""
    root = folder / "photographs"
    colour_dataset.write(root, train=6, test=4, classes=("navy", "azure", "red"))
    (root / "train").rename(root / "valid")
    return root


def make(ctx: RunContext, **parts: Any) -> ClassifierArtifact:
    run(recipe(**parts), ctx)
    return ctx.store.classifier("top")


def test_temperature_is_the_best_for_the_photographs(ctx: RunContext) -> None:
    artifact = make(ctx)
    (classifier,) = load(ctx.store, ["top"]).classifiers
    assert ctx.data_path is not None
    images = load_labelled_split(ctx.data_path, "valid", artifact.manifest, {})
    probabilities, temperature = predict(classifier, images), artifact.manifest.head.temperature
    uncalibrated = apply_temperature(probabilities, 1 / temperature)
    assert temperature == pytest.approx(fit_temperature(uncalibrated, images.labels), rel=1e-3)
    assert abs(temperature - 1) > 0.05


def test_photographs_to_measure_are_not_those_to_calibrate(ctx: RunContext) -> None:
    manifest = make(ctx).manifest
    assert {name: metrics.images for name, metrics in manifest.metrics.items()} == {"valid": 18, "test": 12}
    assert set(manifest.metrics["test"].accuracy_by_class) == {"blue", "red"}
    assert manifest.sets["valid"].uses == ("calibrate.head",)
    assert manifest.sets["test"].uses == ()
    assert (manifest.data["calibrated_on_images"], manifest.data["calibrated_on_classes"]) == (18, 2)


def test_photographs_that_calibrated_are_recorded(ctx: RunContext) -> None:
    artifact = make(ctx)
    assert ctx.data_path is not None
    seen = seen_by_artifact(artifact)
    used = load_labelled_split(ctx.data_path, "valid", artifact.manifest, {})
    measured = load_labelled_split(ctx.data_path, "test", artifact.manifest, {})
    assert seen.uses(used) == ("calibrate.head",)
    assert seen.uses(measured) == ()


def test_photograph_like_a_measured_one_calibrates_nothing(ctx: RunContext) -> None:
    assert ctx.data_path is not None
    shutil.copy(ctx.data_path / "test" / "red" / "000.png", ctx.data_path / "valid" / "red" / "copy.png")
    assert make(ctx).manifest.data["calibrated_on_images"] == 18


def test_photographs_that_all_look_like_measured_ones_are_an_error(ctx: RunContext) -> None:
    assert ctx.data_path is not None
    shutil.rmtree(ctx.data_path / "valid")
    shutil.copytree(ctx.data_path / "test", ctx.data_path / "valid")
    with pytest.raises(DatasetError, match="look like those that measure the result"):
        make(ctx)


def test_photographs_without_splits_calibrate_only(ctx: RunContext) -> None:
    assert ctx.data_path is not None
    flat = RunContext(ctx.store, silent, print, ctx.data_path / "valid", ctx.cache)
    manifest = make(flat, calibration={**CALIBRATION, "split": "", "test": ""}).manifest
    assert (set(manifest.metrics), manifest.data["calibrated_on_images"]) == ({"valid"}, 18)


def test_without_photographs_the_probabilities_stay_as_they_are(ctx: RunContext, tmp_path: Path) -> None:
    lines: list[str] = []
    artifact = make(RunContext(ctx.store, silent, lines.append, None, tmp_path / "cache"))
    assert (artifact.manifest.head.temperature, artifact.manifest.metrics) == (1.0, {})
    assert "the probabilities are not calibrated: give labelled photographs with --data" in lines


def test_folder_that_is_none_of_the_classes_is_an_error(ctx: RunContext) -> None:
    assert ctx.data_path is not None
    (ctx.data_path / "valid" / "red").rename(ctx.data_path / "valid" / "crimson")
    with pytest.raises(DatasetError, match=r"top has no class 'crimson'.* or in the recipe's calibration\.names"):
        run(recipe(), ctx)


def test_coarser_classes_of_a_table_are_saved_and_described(ctx: RunContext, tmp_path: Path) -> None:
    table = tmp_path / "parents.tsv"
    table.write_text("label\tparent\nred\twarm\ngreen\tcold\nblue\tcold\n")
    artifact = make(ctx, parents=str(table), calibration=None)
    assert artifact.manifest.parents == {"red": "warm", "green": "cold", "blue": "cold"}
    assert artifact.manifest.recipe["parents"] == "parents.tsv", "without the folder"
    assert "2 coarser classes above its classes: `warm`, `cold`\n" in artifact.read(CARD_FILE).decode()
    (classifier,) = load(ctx.store, ["top"]).classifiers
    probabilities = np.array([0.25, 0.25, 0, 0.5], np.float32)
    assert classifier.parents(probabilities * np.float32(0.75)) == [("cold", 0.5625)]


def test_frequent_classes_get_more_of_the_probability(ctx: RunContext, tmp_path: Path) -> None:
    table = tmp_path / "parents.tsv"
    table.write_text("label\tparent\nred\twarm\ngreen\tcold\nblue\tcold\n")
    uncalibrated = RunContext(ctx.store, silent, print, None, tmp_path / "cache")
    frequencies = {"frequencies": {"cold": 4.0, "blue": 0.5}}
    run(recipe(parents=str(table), calibration=CALIBRATION | frequencies), uncalibrated)
    (classifier,) = load(ctx.store, ["top"]).classifiers
    assert classifier.classes == ("red", "green", "grey", "blue")
    given = np.array([[0.4, 0.3, 0.2, 0.1]], np.float32)
    assert classifier.head.predict_proba(given) == pytest.approx(np.array([[0.4, 1.2, 0.2, 0.2]]) / 2)


def test_frequency_of_an_unknown_class_is_rejected(ctx: RunContext) -> None:
    with pytest.raises(RecipeError, match=r"\[calibration\.frequencies\]: 'pink' is neither a class nor a coarser"):
        run(recipe(calibration=CALIBRATION | {"frequencies": {"pink": 2.0}}), ctx)


def test_table_that_does_not_fit_is_rejected_before_anything_is_fitted(ctx: RunContext) -> None:
    with pytest.raises(RecipeError, match="does not fit the classes"):
        run(recipe(parents="imagenet"), ctx)
    assert list(ctx.store.classifiers()) == []


def test_shipped_recipe_calibrates_and_has_coarser_classes() -> None:
    shipped = load_recipe("imagenet")
    assert shipped.calibration is not None
    assert (shipped.calibration.split, shipped.calibration.test, shipped.parents) == ("valid", "test", "imagenet")
    assert shipped.calibration.frequencies == {"cat": pytest.approx(_breeds("dog") / _breeds("cat"))}
    assert (shipped.extractor.name, shipped.network, shipped.data) == ("efficientnet_lite0", None, None)


def _breeds(label: str) -> int:
    classes = tuple(imagenet_classes().values())
    return len(Hierarchy(classes, read_parents("imagenet", classes)).below(label))


def test_card_and_notice_have_the_licence_of_wordnet() -> None:
    _, _, licence = load_recipe("imagenet").card.notices.partition("are based on WordNet 3.0:")
    assert "WordNet 3.0 Copyright 2006 by Princeton University." in licence
    assert licence.strip() in (ROOT / "NOTICE").read_text()
