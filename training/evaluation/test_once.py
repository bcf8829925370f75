"""Test sets that are measured only once: the `test_once` setting of a recipe's [data].

A test set that is measured again and again, to choose among models, stops being a test. With `test_once`, only the run
of a recipe measures it, and the `evaluate` command, if a user asks for that. A repeated run of the same recipe on the
same images reports the metrics of the first run, published or not, if it makes the same model, and none otherwise.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from models import heads
from models.artifacts.store import ClassifierArtifact, Store
from models.classifier import Extractor
from models.heads import Head
from models.manifests import Metrics, SetRecord
from training.evaluation.ledger import ledger_of
from training.partition.partition import TEST, Partition
from training.recipes.schema import Recipe
from training.runtime.context import RunContext

#: Key in a classifier's `data`: the weights that were measured, if the network was fitted again afterwards.
MEASURED_WEIGHTS = "measured_weights"
#: What a command reports that leaves such a test set alone.
SKIPPED_NOTE = "The test set was not measured: this recipe measures it once (test_once), by training run."


@dataclass(frozen=True)
class EarlierTest:
    """What to report instead of a second measurement: the first one if it was of the same model, else nothing."""

    metrics: dict[str, Metrics] = field(default_factory=dict)
    sets: dict[str, SetRecord] = field(default_factory=dict)


def earlier_test(
    recipe: Recipe, partition: Partition, extractor: Extractor, head: Head, ctx: RunContext
) -> EarlierTest | None:
    """Look for an earlier measurement of a test set that may be measured only once.

    Args:
        recipe: of this run.
        partition: of its dataset.
        extractor: of the model that this run made.
        head: of the model that this run made.
        ctx: its log receives whether an earlier measurement applies. Classifiers of earlier runs are in its stores and
            in those of its ledger.

    Returns:
        None if the test set may be measured now.
    """
    if not partition.test_once:
        return None
    digests = DatasetDigests(partition.dataset.digest, partition.set_digest(TEST))
    recorded = [each for each in ledger_of(ctx).of(digests.test) if each.recipe == recipe_digest(recipe)]
    roots = dict.fromkeys((ctx.store.root, ctx.output.root, *(Path(each.store) for each in recorded)))
    measurements = (previous_measurement(recipe, digests, Store(root)) for root in roots)
    measured = next(filter(None, measurements), None)
    if measured:
        return recorded_test(measured, extractor, head, ctx.log)
    if recorded:
        first = recorded[0]
        ctx.log(
            f"the test set was measured on {first.date} for {first.by} and is not measured again: that model is no "
            f"longer in {first.store}, so there are no test metrics"
        )
        return EarlierTest()
    return None


class DatasetDigests(NamedTuple):
    """Digests of a dataset and of its test set alone."""

    dataset: str
    test: str


def previous_measurement(recipe: Recipe, digests: DatasetDigests, store: Store) -> ClassifierArtifact | None:
    """Return the oldest classifier with test metrics that this recipe made, measured on the same test set.

    Of classifiers that have no record of their test set, the whole dataset has to be the same.
    """
    settings = _measured_settings(recipe.as_record())
    for artifact in reversed(store.classifiers()):
        manifest = artifact.manifest
        test = manifest.sets.get(TEST)
        same_set = test.digest == digests.test if test else manifest.data.get("digest") == digests.dataset
        if same_set and TEST in manifest.metrics and _measured_settings(manifest.recipe) == settings:
            return artifact
    return None


def recorded_test(
    measured: ClassifierArtifact, extractor: Extractor, head: Head, log: Callable[[str], None]
) -> EarlierTest:
    """Return the measurement of an earlier classifier if it is the same model, else an empty one."""
    manifest = measured.manifest
    weights = manifest.data.get(MEASURED_WEIGHTS, manifest.extractor.weights_sha256)
    # Saved again, because the head may have been saved in an earlier format.
    measured_head = heads.save(heads.load(measured.read(manifest.head.file)))
    measured_model = (weights, measured_head, manifest.head.temperature)
    this_model = (extractor.manifest.weights_sha256, heads.save(head.estimator), head.temperature)
    prefix = f"the test set was measured on {manifest.created} for {measured.label} and is not measured again"
    if measured_model == this_model:
        log(f"{prefix}: this is the same model with the same metrics")
        sets = {TEST: manifest.sets[TEST]} if TEST in manifest.sets else {}
        return EarlierTest({TEST: manifest.metrics[TEST]}, sets)
    log(f"{prefix}: this is another model, so it has no test metrics")
    return EarlierTest()


def recipe_digest(recipe: Recipe) -> str:
    """Return the digest of the settings that decide which model is measured, SHA-256 in hexadecimal."""
    settings = json.dumps(_measured_settings(recipe.as_record()), sort_keys=True)
    return hashlib.sha256(settings.encode()).hexdigest()


def _measured_settings(recipe: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe's record without `refit`, which takes effect after measuring, and without the prose."""
    return {key: value for key, value in recipe.items() if key not in ("refit", "card")}
