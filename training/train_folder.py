"""Trains a classifier on a user's own folder of images, without a recipe.

images -> features at several source sides -> head and preprocessing chosen by cross-validation -> fit -> test -> store
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from models.arrays import Floats
from models.artifacts.store import ClassifierArtifact, ExtractorArtifact, Store, check_name
from models.preprocess import PreprocessSpec
from training.errors import DatasetError
from training.evaluation.results import Report, do_not_report
from training.heads.finish import (
    CROSS_VALIDATED,
    describe_partition,
    measure_predictions,
    predict_sets,
    record_sets,
    save_and_report,
)
from training.heads.inputs import HeadInputs, make_inputs
from training.heads.model_selection import Candidate, fit_candidate, select_model
from training.heads.save import TrainedHead
from training.ingest.photo_folder import PhotoFolder, read_photo_folder
from training.partition.partition import FIT, Partition
from training.partition.record import Stage, Use
from training.recipes.schema import Recipe
from training.runtime.context import RunContext
from training.runtime.names import printable

#: Used if it is installed, else the recipe's: ImageNet's network knows photographs best.
_PREFERRED_EXTRACTOR = "inception_v3_imagenet"


def run(recipe: Recipe, ctx: RunContext, report: Report = do_not_report) -> ClassifierArtifact:
    """Train a classifier on the images at `ctx.data_path` and save it as the next version.

    Args:
        recipe: gives name, card and extractor; head and preprocessing are chosen by cross-validation.
        ctx: folders and output of the run.
        report: called with the results.

    Raises:
        TrainingError, ModelsError: the images or the extractor cannot be used; the message says what to do.
    """
    check_name(recipe.name)
    artifact = _find_extractor(recipe, ctx.store)
    if ctx.data_path is None:
        raise DatasetError("Give your images with --data: a folder with one folder per class, or an archive of it.")
    folder = read_photo_folder(ctx.data_path, ctx.cache, ctx.track)
    partition = Partition(folder.dataset, folder.group_of)
    _log_folder(folder, partition, ctx)
    preprocess = PreprocessSpec(size=artifact.manifest.input_size, shrink="bilinear")
    inputs = make_inputs(recipe.model_copy(update={"preprocess": preprocess}), partition, artifact, ctx)
    candidate, tuning = _choose_candidate(inputs, recipe.seed)
    trained = _train_head(folder, replace(inputs, preprocess=candidate.preprocess), candidate, tuning, recipe.seed)
    return save_and_report(
        _with_choices(recipe, artifact, candidate),
        inputs.extractor,
        trained,
        ctx,
        report,
        measured_on=artifact.manifest,
        excluded_files=(*folder.left_out, *folder.notes),
    )


def _find_extractor(recipe: Recipe, store: Store) -> ExtractorArtifact:
    names = {artifact.manifest.name for artifact in store.extractors()}
    return store.extractor(_PREFERRED_EXTRACTOR if _PREFERRED_EXTRACTOR in names else recipe.extractor.name)


def _log_folder(folder: PhotoFolder, partition: Partition, ctx: RunContext) -> None:
    ctx.log_left_out(folder.left_out, listed_in="the report")
    for line in folder.notes:
        ctx.log(f"note: {line}")
    classes, measured = len(folder.dataset.class_ids), sum(map(partition.count, partition.measured(Stage.REPORT)))
    ctx.log(f"{classes} classes, {partition.count(FIT):,} training images, {measured:,} images to measure")


def _choose_candidate(inputs: HeadInputs, seed: int) -> tuple[Candidate, dict[str, Any]]:
    """Return the best head and preprocessing, and a record of all candidates."""
    ctx = inputs.ctx
    folds = inputs.partition.folds(Stage.SELECTION, FIT, Use.FIT, Use.CHOOSE, Use.CALIBRATE, Use.MEASURE)

    def extract(spec: PreprocessSpec) -> Floats:
        mirrored = ", mirrored" if spec.mirror else ""
        return replace(inputs, preprocess=spec).extract(
            folds.split, f"training images at {spec.source_side} px{mirrored}"
        )

    best, record = select_model(
        extract,
        inputs.preprocess,
        folds.split.labels,
        folds.groups,
        inputs.partition.dataset.class_names,
        seed,
        ctx.track,
    )
    low, high = best.metrics.accuracy_interval
    ctx.log(
        f"chosen: {best.head.kind} head at {best.preprocess.source_side} px, "
        f"cross-validated accuracy {best.metrics.accuracy:.3f} ({low:.3f} to {high:.3f})"
    )
    if best.preprocess.mirror:
        ctx.log("features are averaged over each image and its mirror image: more accurate here, at twice the cost")
    return best, record


def _train_head(
    folder: PhotoFolder, inputs: HeadInputs, candidate: Candidate, tuning: dict[str, Any], seed: int
) -> TrainedHead:
    """Fit the chosen head on all training images, and measure it on the others."""
    partition, classes = inputs.partition, folder.dataset.class_names
    images = partition.hand_out(Stage.HEAD, FIT, Use.FIT)
    head = fit_candidate(candidate, inputs.extract(images, "training images"), images.labels, seed)
    predictions = predict_sets(head, inputs, partition.measured(Stage.REPORT))
    return TrainedHead(
        head=head,
        classes=classes,
        metrics={CROSS_VALIDATED: candidate.metrics} | measure_predictions(predictions, classes),
        data=_describe_folder(folder, partition, inputs.ctx),
        holdout_indices=partition.holdout_indices,
        record=partition.record,
        sets=record_sets(inputs, partition.record),
        tuning=tuning,
        predictions=predictions,
    )


def _describe_folder(folder: PhotoFolder, partition: Partition, ctx: RunContext) -> dict[str, Any]:
    assert ctx.data_path is not None
    name = printable(ctx.data_path.resolve().name)
    return describe_partition(partition, name, FIT) | {
        "near_duplicates": len(folder.groups) - len(np.unique(folder.groups)),
        "left_out_files": len(folder.left_out),
    }


def _with_choices(recipe: Recipe, extractor: ExtractorArtifact, candidate: Candidate) -> Recipe:
    """Return the recipe with the extractor, the preprocessing and the head that were chosen."""
    reference = recipe.extractor.model_copy(update={"name": extractor.manifest.name})
    return recipe.model_copy(
        update={"extractor": reference, "preprocess": candidate.preprocess, "head": candidate.head}
    )
