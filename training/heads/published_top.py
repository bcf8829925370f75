"""Takes the softmax that a network was fitted with as a head, without a dataset that was fitted on.

Its probabilities can be calibrated on labelled photographs of some of its classes: networks fitted with label smoothing
are less confident than they are accurate.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from models import heads
from models.artifacts.store import ExtractorArtifact
from models.classifier import Extractor
from models.heads import Head
from models.hierarchy import Hierarchy
from training.data.archives import locate_root
from training.data.dataset import Dataset
from training.data.split import make_split
from training.errors import DatasetError, RecipeError
from training.evaluation.evaluate import ClassFolders, label_split
from training.evaluation.seen import seen_by_artifact
from training.heads.finish import measure_predictions, predict_sets, record_sets
from training.heads.fit import calibrate_head
from training.heads.inputs import HeadInputs
from training.heads.save import TrainedHead
from training.partition.partition import TEST, VALID, Partition
from training.partition.record import Stage, Use
from training.partition.thumbnails import group_by_look
from training.recipes.data import Calibration
from training.recipes.parents import read_parents
from training.recipes.schema import Recipe
from training.runtime.context import RunContext
from training.runtime.names import printable


def top_as_head(recipe: Recipe, artifact: ExtractorArtifact, extractor: Extractor, ctx: RunContext) -> TrainedHead:
    """Return the network's own top as a head; with [calibration] and --data, calibrated and measured on photographs.

    Args:
        recipe: with a softmax head, without [data].
        artifact: the extractor in its store.
        extractor: the same, loaded.
        ctx: folders and output of the run.

    Raises:
        DatasetError: the photographs cannot be opened, a folder of them is none of the classes, or all of them
            look like photographs that measure the result.
        RecipeError: a frequency has the label of no class.
    """
    classes = extractor.manifest.tops[recipe.extractor.output]
    head = Head(heads.top_softmax(classes, classes, _frequencies(recipe, classes)))
    data = {"fitted_on": extractor.manifest.fitted_on["start"]}
    uncalibrated = TrainedHead(head, classes, {}, data, np.empty(0, np.int64))
    if recipe.calibration is None:
        return uncalibrated
    if ctx.data_path is None:
        ctx.log("the probabilities are not calibrated: give labelled photographs with --data")
        return uncalibrated
    dataset = _load_photographs(recipe.name, recipe.calibration, classes, ctx)
    partition = Partition(dataset, group_by_look(dataset.splits.values(), ctx.cache, ctx.track))
    assert recipe.preprocess is not None
    seen = seen_by_artifact(artifact)
    inputs = HeadInputs(partition, extractor, recipe.extractor.output, recipe.preprocess, ctx, seen)
    return _calibrate(uncalibrated, inputs)


def _frequencies(recipe: Recipe, classes: tuple[str, ...]) -> list[float]:
    """Return the relative frequency of each class; empty if the recipe has none.

    Raises:
        RecipeError: a label is neither a class nor a coarser class.
    """
    given = recipe.calibration.frequencies if recipe.calibration else {}
    if not given:
        return []
    hierarchy = Hierarchy(classes, read_parents(recipe.parents, classes))
    frequencies = [1.0] * len(classes)
    for label, frequency in given.items():
        indices = hierarchy.below(label)
        if not indices:
            raise RecipeError(f"[calibration.frequencies]: {printable(label)!r} is neither a class nor a coarser class")
        for index in indices:
            frequencies[index] *= frequency
    return frequencies


def _calibrate(uncalibrated: TrainedHead, inputs: HeadInputs) -> TrainedHead:
    """Fit the temperature on the photographs of one split, and measure on those of both."""
    partition, ctx, classes = inputs.partition, inputs.ctx, uncalibrated.classes
    if not partition.count(VALID):
        raise DatasetError("All photographs to calibrate look like those that measure the result. Add others.")
    images = partition.hand_out(Stage.HEAD, VALID, Use.CALIBRATE)
    features = inputs.extract(images, "photographs to calibrate")
    head = calibrate_head(uncalibrated.head.estimator, features, images.labels)
    ctx.log(f"temperature {head.temperature:.3f}, fitted on {len(images):,} photographs")
    predictions = predict_sets(head, inputs, partition.measured(Stage.REPORT))
    assert ctx.data_path is not None
    photographs = {
        "photographs": printable(ctx.data_path.resolve().name),
        "digest": partition.dataset.digest,
        "calibrated_on_images": len(images),
        "calibrated_on_classes": len(np.unique(images.labels)),
        "test_images": partition.count(TEST),
    }
    return replace(
        uncalibrated,
        head=head,
        metrics=measure_predictions(predictions, classes),
        data=uncalibrated.data | photographs,
        record=partition.record,
        sets=record_sets(inputs, partition.record),
        predictions=predictions,
    )


def _load_photographs(owner: str, spec: Calibration, classes: tuple[str, ...], ctx: RunContext) -> Dataset:
    """Return the photographs as a dataset of the top's classes, without images to fit on."""
    assert ctx.data_path is not None
    folders = ClassFolders(owner, classes, renamed=spec.names)
    calibrating = label_split(ctx.data_path, spec.split, folders, ctx.cache, ctx.log_left_out)
    test = label_split(ctx.data_path, spec.test, folders, ctx.cache, ctx.log_left_out) if spec.test else None
    root = locate_root(ctx.data_path, spec.split, ctx.cache)
    return Dataset(root, classes, classes, make_split({}, classes), test, calibrating, has_holdout=False)
