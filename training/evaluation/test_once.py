"""The test set is looked at once: a repeated run of a recipe reads what the first one measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from models import heads
from models.artifacts.store import ClassifierArtifact, Store
from models.classifier import Extractor
from models.heads import Head
from models.manifests import Metrics, sha256
from training.recipes.schema import Recipe

#: In a classifier's data, where its network was fitted again after it had been measured: the weights measured.
MEASURED_WEIGHTS = "measured_weights"


def previous_measurement(recipe: Recipe, digest: str, store: Store) -> ClassifierArtifact | None:
    """The classifier that this very recipe made of this very dataset, and whose test set was measured."""
    for artifact in reversed(store.classifiers()):
        manifest = artifact.manifest
        same = _measured(manifest.recipe) == _measured(recipe.record()) and manifest.data.get("digest") == digest
        if same and "test" in manifest.metrics:
            return artifact
    return None


def recorded(
    first: ClassifierArtifact, extractor: Extractor, head: Head, say: Callable[[str], None]
) -> dict[str, Metrics]:
    """What was measured then: figures of this very model, or none, since those of another one are not its own."""
    there = first.manifest
    weights = there.data.get(MEASURED_WEIGHTS, there.extractor.weights_sha256)
    then = (weights, there.head.sha256, there.head.temperature)
    now = (extractor.manifest.weights_sha256, sha256(heads.save(head.estimator)), head.temperature)
    seen = f"the test set was measured on {there.created} for {first.label}, and is not measured again"
    if then == now:
        say(f"{seen}: this is the same model, with the same figures")
        return {"test": there.metrics["test"]}
    say(f"{seen}: this is another model, which has none")
    return {}


def _measured(recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe's record but for `refit`, which comes after measuring."""
    return {key: value for key, value in recipe.items() if key != "refit"}
