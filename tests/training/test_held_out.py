"""The record of a run equals what really reaches a fit, a choice and a measurement, and the card says so."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from models.artifacts.store import ClassifierArtifact, Store
from models.manifests import CARD_FILE
from tests.support import colour_dataset
from tests.support.held_out import Observed, check_classifier, observe, run
from training import train, train_folder
from training.data.dataset import load_dataset
from training.data.split import holdout_indices
from training.evaluation.ledger import ledger_of
from training.evaluation.results import ClassifierResults
from training.evaluation.seen import seen_by_artifact, to_keys
from training.heads.comparison import compare_heads
from training.heads.inputs import open_with_stored_extractor
from training.recipes.data import DatasetSpec
from training.recipes.load import load_recipe
from training.recipes.schema import Recipe

pytestmark = pytest.mark.timeout(300)

DATA = {"path": "colours", "valid": "valid", "test": "test"}
TASK: dict[str, Any] = {"top": "colour", "data": DATA, "preprocess": {"size": 32}, "batch": 8}
FIT = {"passes": 2, "optimizer": "adam", "learning_rate": 0.003}
STOP = {"stop": {"measure": "log_loss", "patience": 2}}
LOGISTIC = {"kind": "logistic"}


def network(**fit: Any) -> dict[str, Any]:
    return {"architecture": "small_cnn", "size": 32, "weights": "random", "tasks": [TASK], "fit": FIT | fit}


def recipe(**parts: Any) -> Recipe:
    defaults: dict[str, Any] = {"extractor": {"name": "fitted_net"}, "data": DATA, "head": LOGISTIC}
    return colour_dataset.recipe(**{**defaults, "network": network(**STOP), **parts})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four colours in three splits. Some training images look like an image for testing or validating."""
    folder = colour_dataset.write(tmp_path_factory.mktemp("data") / "colours", train=24, test=12)
    for path in sorted((folder / "test").glob("*/*.png"))[::2]:
        target = folder / "valid" / path.relative_to(folder / "test")
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    for split, number in (("test", "001"), ("valid", "000")):
        pixels = np.array(Image.open(folder / split / "blue" / f"{number}.png"))
        pixels[0, 0] ^= 1
        Image.fromarray(pixels).save(folder / "train" / "blue" / f"like-{split}.png")
    return folder


def classifier_of(recipe: Recipe, observed: Observed, monkeypatch: pytest.MonkeyPatch) -> ClassifierArtifact:
    classifier = run(recipe, observed, monkeypatch)
    assert classifier
    return classifier


def held_out_keys(data: Path) -> set[int]:
    train_split = load_dataset(DatasetSpec(path="colours"), data).train
    return set(to_keys(train_split.digests[index] for index in holdout_indices(train_split)).tolist())


def measured_keys(data: Path, *splits: str) -> set[int]:
    datasets = [load_dataset(DatasetSpec(path="colours", test=split), data).test for split in splits]
    return {int(key) for split in datasets if split for key in to_keys(split.digests)}


def looking_alike(data: Path) -> set[int]:
    return set(
        to_keys(
            digest
            for split in load_dataset(DatasetSpec(path="colours"), data).splits.values()
            for digest, image in zip(split.digests, split.images, strict=True)
            if image.name.startswith("like-")
        ).tolist()
    )


def test_fitted_network_and_head(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    observed = observe(tmp_path, data, recipe())
    classifier = classifier_of(recipe(), observed, monkeypatch)
    fitted = observed.keys("network fit", "head fit", "int8 fit")
    assert not fitted & (held_out_keys(data) | measured_keys(data, "valid", "test") | looking_alike(data))
    assert observed.keys("network fit") == observed.keys("head fit")
    assert observed.keys("int8 choose") == held_out_keys(data)
    assert observed.keys("network look") == measured_keys(data, "valid")
    assert observed.keys("engines measure") == measured_keys(data, "test")
    sets = classifier.manifest.sets
    assert sets["valid"].uses == ("choose.network",)
    assert sets["holdout"].uses == ("choose.int8", "calibrate.head")
    assert sets["test"].uses == ()
    assert sets["test"].measured_by == ("fitted_net@1",), "by the accuracy of the engines"
    assert classifier.manifest.data["excluded_near_duplicates"] == 2


def test_network_and_head_that_are_fitted_again(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = recipe(refit=True)
    classifier = classifier_of(head, observe(tmp_path / "head", data, head), monkeypatch)
    models = {name: record.model for name, record in classifier.manifest.sets.items()}
    assert models == {"holdout": "head", "valid": "", "test": ""}
    card = classifier.read(CARD_FILE).decode()
    assert card.count("measured before the head was fitted again") == 1
    top = recipe(refit=True, head={"kind": "softmax"}, extractor={"name": "fitted_net", "output": "colour"})
    observed = observe(tmp_path / "network", data, top)
    classifier = classifier_of(top, observed, monkeypatch)
    assert {record.model for record in classifier.manifest.sets.values()} == {"network"}
    assert classifier.read(CARD_FILE).decode().count("measured before the network was fitted again") == 3
    assert not observed.keys("network fit", "int8 fit") & measured_keys(data, "test")


def test_network_that_starts_from_one_that_saw_the_images(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = recipe(network=network(everything=True), head=None)
    train.run(everything, observe(tmp_path, data).ctx)
    later = {**network(), "weights": "store:fitted_net"}
    parts: dict[str, Any] = {"network": later, "extractor": {"name": "later_net"}}
    artifact = train.run(recipe(**parts), observe(tmp_path, data).ctx)
    classifier = observe(tmp_path, data).ctx.store.classifier(artifact.manifest.name)
    sets = classifier.manifest.sets
    assert {name: record.fitted_by_network for name, record in sets.items()} == {
        "holdout": len(held_out_keys(data)),
        "valid": 24,
        "test": 0,
    }
    card = classifier.read(CARD_FILE).decode()
    assert "the network or its initial weights had been fitted on all of its 24 images" in card


def test_set_that_is_measured_once_is_not_measured_by_engines(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = {**DATA, "test_once": True}
    changed = {**network(**STOP), "tasks": [{**TASK, "data": once}]}
    observed = observe(tmp_path, data, recipe(data=once, network=changed))
    first = classifier_of(recipe(data=once, network=changed), observed, monkeypatch)
    assert observed.keys("engines measure") == set()
    assert first.manifest.sets["test"].measured_before == 0
    again = observe(tmp_path, data, recipe(data=once, network=changed))
    with again.probe.observing(monkeypatch):
        train.run(recipe(data=once, network=changed), again.ctx)
    again.probe.resolve_rows(again.ctx.cache)
    assert not again.keys("head measure", "engines measure") & measured_keys(data, "test")
    second = again.ctx.store.classifier("colours", 2).manifest
    assert second.metrics["test"] == first.manifest.metrics["test"]
    assert second.sets["test"] == first.manifest.sets["test"]


@pytest.mark.parametrize("is_kept", [True, False])
def test_set_that_an_unpublished_run_measured_is_not_measured_again(tmp_path: Path, data: Path, is_kept: bool) -> None:
    once = recipe(data={**DATA, "test_once": True}, network=network(passes=0))
    lines: list[str] = []
    ctx = replace(observe(tmp_path, data, once).ctx, log=lines.append)
    unpublished = replace(ctx, unpublished=Store(tmp_path / "run" / "store"))
    train.run(once, unpublished)
    first = unpublished.output.classifier("colours")
    if not is_kept:
        shutil.rmtree(first.folder)
    train.run(once, ctx)
    second = ctx.store.classifier("colours")
    test = first.manifest.sets["test"].digest
    assert [each.by for each in ledger_of(ctx).of(test)].count("colours@1 (not published)") == 1
    assert "colours@1" not in [each.by for each in ledger_of(ctx).of(test)]
    assert ("test" in second.manifest.metrics) == is_kept
    if is_kept:
        assert second.manifest.metrics["test"] == first.manifest.metrics["test"]
    else:
        assert any("that model is no longer in" in line for line in lines)


def test_tuned_head(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tuned = recipe(tune={"trials": 2, "folds": 5}, network=network(passes=0))
    observed = observe(tmp_path, data, tuned)
    classifier = classifier_of(tuned, observed, monkeypatch)
    assert not observed.keys("head fit") & (held_out_keys(data) | looking_alike(data))
    assert classifier.manifest.sets["holdout"].uses == ("calibrate.head",), "it does not choose parameters"


def test_compared_heads(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train.run(recipe(head=None), observe(tmp_path, data).ctx)
    observed = observe(tmp_path, data)
    inputs = open_with_stored_extractor(recipe(), observed.ctx)
    with observed.probe.observing(monkeypatch):
        comparison = compare_heads(recipe(), inputs, ["logistic"])
    observed.probe.resolve_rows(observed.ctx.cache)
    train_split = load_dataset(DatasetSpec(path="colours"), data).train
    compared = set(to_keys(train_split.digests).tolist()) - looking_alike(data)
    assert observed.keys("head fit") == compared
    assert observed.keys("head measure") == compared | measured_keys(data, "test")
    sets = comparison.sets
    assert sets["cross-validated"].images == len(compared)
    assert sets["cross-validated"].fitted_by_network == len(compared - held_out_keys(data))
    assert (sets["test"].fitted_by_network, sets["test"].measured_by) == (0, ("fitted_net@1",))
    looks = inputs.partition.dataset.splits["test set"].digest
    assert [each.by for each in ledger_of(observed.ctx).of(looks)] == ["fitted_net@1", "compare colours"]


def test_own_images_without_a_recipe(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = load_recipe("own")
    name = own.extractor.name
    train.run(recipe(head=None, extractor={"name": name}), observe(tmp_path, data).ctx)
    own = own.with_overrides(name="mine")
    for version, earlier in ((1, (name + "@1",)), (2, ("mine@1", name + "@1"))):
        observed, reports = observe(tmp_path, data), list[ClassifierResults]()
        with observed.probe.observing(monkeypatch):
            train_folder.run(own, observed.ctx, reports.append)
        observed.probe.resolve_rows(observed.ctx.cache)
        classifier = observed.ctx.store.classifier("mine", version)
        check_classifier(classifier, reports, observed, seen_by_artifact(observed.ctx.store.extractor(name)))
        assert not observed.keys("head fit") & (measured_keys(data, "valid", "test") | looking_alike(data))
        sets = classifier.manifest.sets
        assert sets["test"].measured_by == earlier
        assert sets["cross-validated"].model == "folds"
        assert sets["cross-validated"].uses == ("choose.int8", "calibrate.selection", "choose.selection")
        assert "valid" in sets
