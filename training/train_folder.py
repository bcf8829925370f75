"""Trains a classifier on a user's own folder of images, without a recipe.

images -> features -> extractor, preprocessing and head chosen by cross-validation -> fit -> test -> store
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

#: An extractor that was fitted on more than this share of the images would be measured too well to be compared.
_MAX_SHARE_FITTED_ON = 0.01


def run(recipe: Recipe, ctx: RunContext, report: Report = do_not_report) -> ClassifierArtifact:
    """Train a classifier on the images at `ctx.data_path` and save it as the next version.

    Args:
        recipe: gives name and card; extractor, preprocessing and head are chosen by cross-validation.
        ctx: folders and output of the run.
        report: called with the results.

    Raises:
        TrainingError, ModelsError: the images or the extractor cannot be used; the message says what to do.
    """
    check_name(recipe.name)
    artifacts = _find_extractors(recipe, ctx.store)
    if ctx.data_path is None:
        raise DatasetError("Give your images with --data: a folder with one folder per class, or an archive of it.")
    folder = read_photo_folder(ctx.data_path, ctx.cache, ctx.track)
    partition = Partition(folder.dataset, folder.group_of)
    _log_folder(folder, partition, ctx)
    extractors = _load_extractors(artifacts, recipe, partition, ctx)
    candidate, tuning = _choose_candidate(extractors, recipe.seed)
    inputs = replace(extractors[candidate.extractor], preprocess=candidate.preprocess)
    trained = _train_head(folder, inputs, candidate, tuning, recipe.seed)
    return save_and_report(
        _with_choices(recipe, candidate),
        inputs.extractor,
        trained,
        ctx,
        report,
        measured_on=inputs.extractor.manifest,
        excluded_files=(*folder.left_out, *folder.notes),
    )


def _find_extractors(recipe: Recipe, store: Store) -> list[ExtractorArtifact]:
    """Return the newest version of each extractor of the store; raises ModelNotFound if it has none."""
    names = dict.fromkeys(artifact.manifest.name for artifact in store.extractors())
    return [store.extractor(name) for name in names or [recipe.extractor.name]]


def _load_extractors(
    artifacts: Sequence[ExtractorArtifact], recipe: Recipe, partition: Partition, ctx: RunContext
) -> dict[str, HeadInputs]:
    """Load extractors; those that were fitted on the images are left out, if there are others.

    Raises:
        ModelsError: one cannot be loaded.
    """
    loaded = {artifact.manifest.name: _load(artifact, recipe, partition, ctx) for artifact in artifacts}
    fitted_on = {name: _share_fitted_on(inputs) for name, inputs in loaded.items()}
    others = {name: loaded[name] for name, share in fitted_on.items() if share <= _MAX_SHARE_FITTED_ON}
    for name in sorted(loaded.keys() - others.keys()) if others else ():
        ctx.log(f"extractor {name} is left out: it was fitted on {fitted_on[name]:.0%} of these images")
    return others or loaded


def _load(artifact: ExtractorArtifact, recipe: Recipe, partition: Partition, ctx: RunContext) -> HeadInputs:
    preprocess = PreprocessSpec(size=artifact.manifest.input_size, shrink="bilinear")
    return make_inputs(recipe.model_copy(update={"preprocess": preprocess}), partition, artifact, ctx)


def _share_fitted_on(inputs: HeadInputs) -> float:
    splits = inputs.partition.dataset.splits.values()
    return sum(inputs.seen.count(Use.FIT, split, Stage.NETWORK) for split in splits) / sum(map(len, splits))


def _log_folder(folder: PhotoFolder, partition: Partition, ctx: RunContext) -> None:
    ctx.log_left_out(folder.left_out, listed_in="the report")
    for line in folder.notes:
        ctx.log(f"note: {line}")
    classes, measured = len(folder.dataset.class_ids), sum(map(partition.count, partition.measured(Stage.REPORT)))
    ctx.log(f"{classes} classes, {partition.count(FIT):,} training images, {measured:,} images to measure")


def _choose_candidate(extractors: Mapping[str, HeadInputs], seed: int) -> tuple[Candidate, dict[str, Any]]:
    """Return the best extractor, preprocessing and head, and a record of all candidates."""
    any_inputs = next(iter(extractors.values()))
    partition, ctx = any_inputs.partition, any_inputs.ctx
    folds = partition.folds(Stage.SELECTION, FIT, Use.FIT, Use.CHOOSE, Use.CALIBRATE, Use.MEASURE)

    def extract(name: str, spec: PreprocessSpec) -> Floats:
        mirrored = ", mirrored" if spec.mirror else ""
        title = f"training images by {name} at {spec.source_side} px{mirrored}"
        return replace(extractors[name], preprocess=spec).extract(folds.split, title)

    specs = {name: inputs.preprocess for name, inputs in extractors.items()}
    classes = partition.dataset.class_names
    best, record = select_model(extract, specs, folds.split.labels, folds.groups, classes, seed, ctx.track)
    for trial in record["trials"][: len(extractors)]:
        ctx.log(f"{trial['parameters']['extractor']}: cross-validated accuracy {trial['accuracy']:.3f}")
    low, high = best.metrics.accuracy_interval
    ctx.log(
        f"chosen: {best.extractor} at {best.preprocess.source_side} px with a {best.head.kind} head, "
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


def _with_choices(recipe: Recipe, candidate: Candidate) -> Recipe:
    """Return the recipe with the extractor, the preprocessing and the head that were chosen."""
    reference = recipe.extractor.model_copy(update={"name": candidate.extractor})
    return recipe.model_copy(
        update={"extractor": reference, "preprocess": candidate.preprocess, "head": candidate.head}
    )
