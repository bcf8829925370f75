"""Test sets that are measured only once: the `test_once` setting of a recipe's [data].

A test set that is measured again and again, to choose among models, stops being a test. With `test_once`, only
`training run` measures it. A repeated run of the same recipe on the same images reports the metrics of the first run,
if it makes the same model, and none otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from models import heads
from models.artifacts.store import ClassifierArtifact, Store
from models.classifier import Extractor
from models.heads import Head
from models.manifests import Metrics
from training.data.dataset import Dataset
from training.recipes.data import DatasetSpec
from training.recipes.schema import Recipe

#: Key in a classifier's `data`: the weights that were measured, if the network was fitted again afterwards.
MEASURED_WEIGHTS = "measured_weights"
#: What a command reports that leaves such a test set alone.
SKIPPED_NOTE = "The test set was not measured: this recipe measures it once (test_once), by training run."


def without_reserved_test_set(dataset: Dataset, spec: DatasetSpec) -> Dataset:
    """Return the dataset, without its test set if that may be measured only once."""
    return replace(dataset, test=None) if spec.test_once else dataset


def earlier_test_metrics(
    recipe: Recipe, digest: str, extractor: Extractor, head: Head, stores: Sequence[Store], log: Callable[[str], None]
) -> dict[str, Metrics] | None:
    """Look for an earlier measurement of a test set that may be measured only once.

    Args:
        recipe: of this run.
        digest: of its dataset.
        extractor: of the model that this run made.
        head: of the model that this run made.
        stores: where classifiers of earlier runs are.
        log: receives whether an earlier measurement applies.

    Returns:
        None if the test set may be measured now. Otherwise the metrics to report instead: `test` of the earlier run,
        or nothing if this run made another model.
    """
    if recipe.data is None or not recipe.data.test_once:
        return None
    measurements = (previous_measurement(recipe, digest, store) for store in stores)
    measured = next(filter(None, measurements), None)
    return None if measured is None else recorded_metrics(measured, extractor, head, log)


def previous_measurement(recipe: Recipe, digest: str, store: Store) -> ClassifierArtifact | None:
    """Return the oldest classifier that this recipe made of this dataset and that has test metrics."""
    settings = _measured_settings(recipe.as_record())
    for artifact in reversed(store.classifiers()):
        manifest = artifact.manifest
        is_same_run = _measured_settings(manifest.recipe) == settings and manifest.data.get("digest") == digest
        if is_same_run and "test" in manifest.metrics:
            return artifact
    return None


def recorded_metrics(
    measured: ClassifierArtifact, extractor: Extractor, head: Head, log: Callable[[str], None]
) -> dict[str, Metrics]:
    """Return the test metrics of an earlier classifier if it is the same model, else none."""
    manifest = measured.manifest
    weights = manifest.data.get(MEASURED_WEIGHTS, manifest.extractor.weights_sha256)
    # Saved again, because the head may have been saved in an earlier format.
    measured_head = heads.save(heads.load(measured.read(manifest.head.file)))
    measured_model = (weights, measured_head, manifest.head.temperature)
    this_model = (extractor.manifest.weights_sha256, heads.save(head.estimator), head.temperature)
    prefix = f"the test set was measured on {manifest.created} for {measured.label} and is not measured again"
    if measured_model == this_model:
        log(f"{prefix}: this is the same model with the same metrics")
        return {"test": manifest.metrics["test"]}
    log(f"{prefix}: this is another model, so it has no test metrics")
    return {}


def _measured_settings(recipe: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe's record without `refit`, which takes effect after measuring."""
    return {key: value for key, value in recipe.items() if key != "refit"}
