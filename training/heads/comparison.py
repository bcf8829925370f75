"""Compares several heads on the same cached features, by cross-validation and on the test set."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from models.arrays import Floats, Integers
from models.heads import Head
from models.manifests import ExtractorManifest, Metrics
from training.data.dataset import Dataset
from training.data.split import Split
from training.estimators.kinds import FITTED_KINDS
from training.evaluation import metrics
from training.evaluation.test_once import SKIPPED_NOTE, without_reserved_test_set
from training.heads.cross_validation import cross_validate
from training.heads.fit import fit_head
from training.heads.inputs import HeadInputs
from training.recipes.schema import Recipe
from training.runtime.versions import library_versions

#: Training images that the prediction time is measured on if there is no test set.
_MAX_TIMED_IMAGES = 1000


class HeadResult(BaseModel):
    """One head: its parameters, metrics and times."""

    model_config = ConfigDict(frozen=True)

    kind: str
    parameters: dict[str, Any]
    cross_validated: Metrics
    test: Metrics | None
    fit_seconds: float
    """Fit of the head that predicts the test set, including its calibration."""
    answer_ms: float
    """Prediction time per image in a large batch on one core."""


class HeadComparison(BaseModel):
    """The results of several heads, and what they were compared on."""

    model_config = ConfigDict(frozen=True)

    recipe: str
    dataset: str
    digest: str
    training_images: int
    test_images: int
    extractor: str
    output: str
    folds: int
    seed: int
    optimistic: str = ""
    """Why the cross-validated metrics are too good, if the extractor was fitted on these images."""
    untested: str = ""
    """Why there are no test metrics although there is a test set."""
    heads: tuple[HeadResult, ...]
    libraries: dict[str, str]

    @property
    def notes(self) -> list[str]:
        """The best heads by name, and reservations about the metrics."""
        best = max(self.heads, key=lambda head: head.cross_validated.accuracy)
        lines = [f"Best by cross-validation: {best.kind}, {best.cross_validated.accuracy:.4f}"]
        tested = [(head.test.accuracy, head.kind) for head in self.heads if head.test]
        if tested:
            accuracy, kind = max(tested)
            lines.append(f"Best on the test set: {kind}, {accuracy:.4f}")
        return [*lines, *filter(None, (self.untested, self.optimistic))]


@dataclass(frozen=True, eq=False)
class _Features:
    """Features of a split, float32 [images, width], and its labels."""

    rows: Floats
    labels: Integers


def compare_heads(
    recipe: Recipe, inputs: HeadInputs, kinds: Sequence[str] = tuple(FITTED_KINDS), folds: int = 5
) -> HeadComparison:
    """Fit heads of several kinds on the features of one recipe.

    Args:
        recipe: its own head keeps its parameters, the others have their defaults.
        inputs: the recipe's dataset and features.
        kinds: of heads.
        folds: of the cross-validation.

    Raises:
        DatasetError: images cannot be read, or a class has fewer images than there are folds.
        RecipeError: there is no such kind of head.
    """
    manifest = inputs.extractor.manifest
    recipes = [recipe.with_head(kind) for kind in kinds]
    has_test_set = inputs.dataset.test is not None
    dataset = inputs.dataset if recipe.data is None else without_reserved_test_set(inputs.dataset, recipe.data)
    train = _Features(inputs.extract(dataset.train, "training images"), dataset.train.labels)
    test = None if dataset.test is None else _Features(inputs.extract(dataset.test, "test set"), dataset.test.labels)
    return HeadComparison(
        recipe=recipe.name,
        dataset=dataset.root.name,
        digest=inputs.dataset.digest,
        training_images=len(train.labels),
        test_images=0 if test is None else len(test.labels),
        extractor=f"{manifest.name}@{manifest.version}",
        output=inputs.output,
        folds=folds,
        seed=recipe.seed,
        optimistic=overlap_warning(manifest, inputs.dataset, recipe),
        untested=SKIPPED_NOTE if has_test_set and test is None else "",
        heads=tuple(_measure_head(with_head, inputs, train, test, folds) for with_head in recipes),
        libraries=library_versions(),
    )


def overlap_warning(manifest: ExtractorManifest, dataset: Dataset, recipe: Recipe) -> str:
    """Return a warning if an extractor was fitted on the training images of a dataset, else an empty string."""
    label, name = f"{manifest.name}@{manifest.version}", recipe.data.path if recipe.data else ""
    fitted_datasets = [value for value in manifest.fitted_on.values() if isinstance(value, dict) and "digest" in value]
    if any(fitted["digest"] == dataset.digest for fitted in fitted_datasets):
        images = "these training images"
    elif any(fitted["dataset"] == name for fitted in fitted_datasets):
        images = f"a dataset of the same name, {name}"
    else:
        return ""
    return f"Cross-validation is optimistic here: {label} was fitted on {images}. The test set is not affected."


def _measure_head(
    recipe: Recipe, inputs: HeadInputs, train: _Features, test: _Features | None, folds: int
) -> HeadResult:
    head, dataset = recipe.head, inputs.dataset
    assert head is not None
    assert head.kind != "softmax"
    with inputs.ctx.track(f"{head.kind}: {folds} folds", folds, "folds") as advance:
        cross_validated = cross_validate(
            head,
            train.rows,
            train.labels,
            dataset.class_names,
            folds=folds,
            seed=recipe.seed,
            calibrate=recipe.calibrate,
            advance=advance,
        )
    fitted, fit_seconds = _timed_fit(recipe, inputs, train.rows)
    to_predict = train.rows[:_MAX_TIMED_IMAGES] if test is None else test.rows
    started = time.perf_counter()
    probabilities = fitted.predict_proba(to_predict)
    predict_seconds = time.perf_counter() - started
    return HeadResult(
        kind=head.kind,
        parameters=head.model_dump(mode="json", exclude={"kind"}),
        cross_validated=cross_validated,
        test=None if test is None else metrics.measure(probabilities, test.labels, dataset.class_names),
        fit_seconds=fit_seconds,
        answer_ms=1000 * predict_seconds / len(to_predict),
    )


def _timed_fit(recipe: Recipe, inputs: HeadInputs, train_rows: Floats) -> tuple[Head, float]:
    """Fit the recipe's head on features in memory; return it and the seconds that the fit took."""
    row_of = {digest: index for index, digest in enumerate(inputs.dataset.train.digests)}

    def extract(split: Split, title: str) -> Floats:  # noqa: ARG001 -- no progress bar is needed
        return train_rows[[row_of[digest] for digest in split.digests]]

    started = time.perf_counter()
    head, _ = fit_head(recipe, inputs.dataset, inputs.extractor, extract, inputs.ctx.log)
    return head, time.perf_counter() - started
