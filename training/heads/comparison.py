"""Several heads on the same cached features: cross-validated on the training images, then asked for the test set.

A test set that a recipe looks at once (`test_once`) is left alone: here each head would look at it, and one be chosen.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from models.heads import Floats, Integers
from models.manifests import ExtractorManifest, Metrics
from training.data.dataset import Dataset, Split
from training.estimators.heads import FITTED_KINDS
from training.evaluation import metrics
from training.heads.cross_validation import cross_validate
from training.heads.fit import fit_head
from training.heads.inputs import Inputs
from training.recipes.schema import Recipe
from training.runtime.versions import versions

_LEFT_ALONE = "The test set was left alone: this recipe looks at it once (test_once), by training run."


@dataclass(frozen=True, eq=False)
class _Tested:
    """Features of the test images, float32 [images, width], and their labels."""

    rows: Floats
    labels: Integers


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class HeadResult(_Record):
    """One head: its parameters, what it was worth, and what it took."""

    kind: str
    parameters: dict[str, Any]
    cross_validated: Metrics
    test: Metrics | None
    fit_seconds: float
    """For the head that the test set is answered by, its calibration included."""
    answer_ms: float
    """For one image among many, on one core."""


class Comparison(_Record):
    """Heads beside each other, and what they were compared on."""

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
    """Why cross-validation says too much, where the extractor was fitted on these images."""
    untested: str = ""
    """Why there are no figures on the test set, where there is one."""
    heads: tuple[HeadResult, ...]
    libraries: dict[str, str]

    @property
    def notes(self) -> list[str]:
        """The best heads by name, and what to bear in mind."""
        best = max(self.heads, key=lambda head: head.cross_validated.accuracy)
        lines = [f"Best by cross-validation: {best.kind}, {best.cross_validated.accuracy:.4f}"]
        tested = [(head.test.accuracy, head.kind) for head in self.heads if head.test]
        if tested:
            accuracy, kind = max(tested)
            lines.append(f"Best on the test set: {kind}, {accuracy:.4f}")
        return [*lines, *filter(None, (self.untested, self.optimistic))]


def compare(recipe: Recipe, given: Inputs, kinds: Sequence[str] = tuple(FITTED_KINDS), folds: int = 5) -> Comparison:
    """Fit heads of several kinds on the features of one recipe.

    Args:
        recipe: its own head keeps its parameters, the others have the posts'.
        given: the recipe's dataset and features.
        kinds: of heads.
        folds: of the cross-validation.

    Raises:
        DatasetError: images cannot be read, or a class has fewer than there are folds.
        RecipeError: there is no such kind.
    """
    data, manifest = given.data, given.extractor.manifest
    recipes = [recipe.with_head(kind) for kind in kinds]
    rows = given.features(data.train, "training images")
    left_alone = recipe.data is not None and recipe.data.test_once
    test = None if left_alone else data.test
    tested = None if test is None else _Tested(given.features(test, "test set"), test.labels)
    return Comparison(
        recipe=recipe.name,
        dataset=data.root.name,
        digest=data.digest,
        training_images=len(data.train),
        test_images=0 if tested is None else len(tested.labels),
        extractor=f"{manifest.name}@{manifest.version}",
        output=given.output,
        folds=folds,
        seed=recipe.seed,
        optimistic=seen_by(manifest, data, recipe),
        untested=_LEFT_ALONE if left_alone and data.test is not None else "",
        heads=tuple(_contender(own, given, rows, tested, folds) for own in recipes),
        libraries=versions(),
    )


def seen_by(manifest: ExtractorManifest, data: Dataset, recipe: Recipe) -> str:
    """A sentence that says so where an extractor was fitted on the images of a dataset; else nothing."""
    label, name = f"{manifest.name}@{manifest.version}", recipe.data.path if recipe.data else ""
    sets = [each for each in manifest.fitted_on.values() if isinstance(each, dict) and "digest" in each]
    if any(each["digest"] == data.digest for each in sets):
        which = "these training images"
    elif any(each["dataset"] == name for each in sets):
        which = f"a dataset of the same name, {name}"
    else:
        return ""
    return f"Cross-validation is optimistic here: {label} was fitted on {which}. The test set is not."


def _contender(recipe: Recipe, given: Inputs, rows: Floats, tested: _Tested | None, folds: int) -> HeadResult:
    head, data, at = recipe.head, given.data, given.at
    assert head is not None
    assert head.kind != "softmax"
    with at.track(f"{head.kind}: {folds} folds", folds, "folds") as advance:
        cross_validated = cross_validate(
            head,
            rows,
            data.train.labels,
            data.names,
            folds=folds,
            seed=recipe.seed,
            calibrate=recipe.calibrate,
            advance=advance,
        )
    place = {digest: index for index, digest in enumerate(data.train.digests)}

    def from_memory(split: Split, what: str) -> Floats:  # noqa: ARG001 -- nothing to show a bar for
        return rows[[place[digest] for digest in split.digests]]

    began = time.perf_counter()
    fitted, _ = fit_head(recipe, data, given.extractor, from_memory, at.log)
    fit_seconds = time.perf_counter() - began
    answered = rows[:1000] if tested is None else tested.rows
    began = time.perf_counter()
    probabilities = fitted.predict_proba(answered)
    answer_ms = 1000 * (time.perf_counter() - began) / len(answered)
    test = None if tested is None else metrics.measure(probabilities, tested.labels, data.names)
    return HeadResult(
        kind=head.kind,
        parameters=head.model_dump(mode="json", exclude={"kind"}),
        cross_validated=cross_validated,
        test=test,
        fit_seconds=fit_seconds,
        answer_ms=answer_ms,
    )
