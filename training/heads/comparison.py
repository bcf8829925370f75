"""Compares several heads on the same cached features, by cross-validation and on the test set."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from models.arrays import Floats, Integers
from models.heads import Head
from models.manifests import Metrics, SetRecord
from training.data.split import Split
from training.estimators.kinds import FITTED_KINDS
from training.evaluation import metrics
from training.evaluation.ledger import ledger_of
from training.evaluation.test_once import SKIPPED_NOTE
from training.heads.cross_validation import cross_validate
from training.heads.finish import CROSS_VALIDATED
from training.heads.fit import fit_head
from training.heads.inputs import HeadInputs
from training.partition.partition import TEST, TRAIN, Folds
from training.partition.record import Record, Stage, Use
from training.recipes.schema import Recipe
from training.runtime.versions import library_versions
from training.set_notes import is_optimistic, set_notes

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
    sets: dict[str, SetRecord] = {}
    """What had been done with the images of each set that was measured."""
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
        reservations = [f"{name}: {note}" for name, record in self.sets.items() for note in set_notes(record)]
        return [*lines, *filter(None, [self.untested]), *reservations]

    @property
    def optimistic(self) -> str:
        """Why the cross-validated metrics are too good; empty if nothing is known that makes them so."""
        record = self.sets.get(CROSS_VALIDATED)
        notes = set_notes(record) if record and is_optimistic(record) else []
        return f"{CROSS_VALIDATED}: {notes[0]}" if notes else ""


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
    manifest, partition = inputs.extractor.manifest, inputs.partition
    recipes = [recipe.with_head(kind) for kind in kinds]
    folded = partition.folds(Stage.COMPARISON, TRAIN, Use.FIT, Use.CALIBRATE, Use.MEASURE)
    train = inputs.extract(folded.split, "training images")
    measured = {CROSS_VALIDATED: folded.split}
    if partition.may(Stage.COMPARISON, TEST, Use.MEASURE):
        measured[TEST] = partition.hand_out(Stage.COMPARISON, TEST, Use.MEASURE)
    test = _Features(inputs.extract(measured[TEST], "test set"), measured[TEST].labels) if TEST in measured else None
    histories = inputs.histories()
    comparison = HeadComparison(
        recipe=recipe.name,
        dataset=partition.dataset.root.name,
        digest=partition.dataset.digest,
        training_images=len(train),
        test_images=0 if test is None else len(test.labels),
        extractor=f"{manifest.name}@{manifest.version}",
        output=inputs.output,
        folds=folds,
        seed=recipe.seed,
        sets={name: histories.of(split) for name, split in measured.items()},
        untested=SKIPPED_NOTE if partition.count(TEST) and test is None else "",
        heads=tuple(_measure_head(with_head, inputs, folded, train, test, folds) for with_head in recipes),
        libraries=library_versions(),
    )
    ledger_of(inputs.ctx).add(f"compare {recipe.name}", measured.items())
    return comparison


def _measure_head(
    recipe: Recipe, inputs: HeadInputs, folded: Folds, train: Floats, test: _Features | None, folds: int
) -> HeadResult:
    head, classes = recipe.head, inputs.partition.dataset.class_names
    assert head is not None
    assert head.kind != "softmax"
    with inputs.ctx.track(f"{head.kind}: {folds} folds", folds, "folds") as advance:
        cross_validated = cross_validate(
            head,
            train,
            folded.split.labels,
            folded.groups,
            classes,
            folds=folds,
            seed=recipe.seed,
            calibrate=recipe.calibrate,
            advance=advance,
        )
    fitted, fit_seconds = _timed_fit(recipe, inputs, folded.split, train)
    to_predict = train[:_MAX_TIMED_IMAGES] if test is None else test.rows
    started = time.perf_counter()
    probabilities = fitted.predict_proba(to_predict)
    predict_seconds = time.perf_counter() - started
    return HeadResult(
        kind=head.kind,
        parameters=head.model_dump(mode="json", exclude={"kind"}),
        cross_validated=cross_validated,
        test=None if test is None else metrics.measure(probabilities, test.labels, classes),
        fit_seconds=fit_seconds,
        answer_ms=1000 * predict_seconds / len(to_predict),
    )


def _timed_fit(recipe: Recipe, inputs: HeadInputs, images: Split, rows: Floats) -> tuple[Head, float]:
    """Fit the recipe's head on features in memory; return it and the seconds that the fit took."""
    row_of = {digest: index for index, digest in enumerate(images.digests)}
    partition = inputs.partition.recorded_by(Record())  # each head is a model of its own

    def extract(split: Split, title: str) -> Floats:  # noqa: ARG001 -- no progress bar is needed
        return rows[[row_of[digest] for digest in split.digests]]

    started = time.perf_counter()
    head, _ = fit_head(recipe, partition, inputs.extractor, extract, inputs.ctx.log)
    return head, time.perf_counter() - started
