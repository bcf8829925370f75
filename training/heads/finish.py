"""The last steps of every run: predict the labelled sets, measure the head, save the classifier, report the results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from models.artifacts.store import ClassifierArtifact
from models.classifier import Extractor
from models.heads import Head
from models.manifests import ExtractorManifest, Metrics, SetRecord
from training.evaluation import metrics
from training.evaluation.ledger import label_in_ledger, ledger_of
from training.evaluation.results import ClassifierResults, LabelledPredictions, Report
from training.evaluation.set_records import MeasuredModel
from training.evaluation.test_once import recipe_digest
from training.heads.inputs import HeadInputs
from training.heads.save import TrainedHead, save_classifier
from training.heads.unpublished import add_extractor
from training.partition.partition import HOLDOUT, TEST, TRAIN, Partition
from training.partition.record import Record, Stage, Use
from training.recipes.schema import Recipe
from training.runtime.context import RunContext

#: Name of the training images as a set that is measured by cross-validation.
CROSS_VALIDATED = "cross-validated"


def predict_sets(head: Head, inputs: HeadInputs, names: Iterable[str]) -> dict[str, LabelledPredictions]:
    """Predict sets of the partition that a report may measure, by their names."""
    splits = {name: inputs.partition.hand_out(Stage.REPORT, name, Use.MEASURE) for name in names}
    return {
        name: LabelledPredictions(split, head.predict_proba(inputs.extract(split, f"{name} set")))
        for name, split in splits.items()
    }


def measure_predictions(predictions: Mapping[str, LabelledPredictions], classes: Sequence[str]) -> dict[str, Metrics]:
    """Compute the metrics of each named set of predictions."""
    return {
        name: metrics.measure(predicted.probabilities, predicted.split.labels, classes)
        for name, predicted in predictions.items()
    }


def describe_partition(partition: Partition, name: str, fitted_set: str) -> dict[str, Any]:
    """Describe the dataset of a classifier for its manifest.

    Args:
        partition: of the dataset.
        name: of the folder or archive.
        fitted_set: name of the set that the saved head was fitted on.
    """
    held_out = partition.count(HOLDOUT)
    return {
        "dataset": name,
        "digest": partition.dataset.digest,
        "training_images": partition.training_images,
        "fitted_on_images": partition.count(fitted_set),
        "held_out_images": held_out,
        "excluded_near_duplicates": partition.excluded(fitted_set) + partition.excluded(HOLDOUT),
        "test_images": partition.count(TEST),
    }


def record_sets(inputs: HeadInputs, record: Record, refitted: str = "") -> dict[str, SetRecord]:
    """Return what had been done with each set that a run measured.

    Args:
        inputs: of the run.
        record: of the head.
        refitted: what is fitted again after all measurements, `network` or nothing.
    """
    histories, sets = inputs.histories(record), {}
    for each in record:
        if each.use == Use.MEASURE:
            # The head is measured on the holdout before it is fitted again; all other sets come after that.
            was_refitted = each.stage == Stage.HEAD and any(later.set == TRAIN for later in record)
            model: MeasuredModel = "folds" if each.by_folds else "head" if was_refitted else ""
            if refitted == "network" and not model:
                model = "network"
            sets[CROSS_VALIDATED if each.by_folds else each.set] = histories.of(each.split, model)
    return sets


def save_and_report(
    recipe: Recipe,
    extractor: Extractor,
    trained: TrainedHead,
    ctx: RunContext,
    report: Report,
    *,
    measured_on: ExtractorManifest,
    excluded_files: Sequence[str] = (),
) -> ClassifierArtifact:
    """Save a trained head as the next version of the recipe's classifier, and report its predictions.

    Args:
        recipe: with the chosen head and preprocessing.
        extractor: that the classifier is served with.
        trained: the head.
        ctx: folders and output of the run.
        report: called with the results if any labelled set was predicted.
        measured_on: extractor that the head was measured on; another one if the network was fitted again afterwards.
        excluded_files: one line for each file that was not used.
    """
    assert recipe.preprocess is not None
    if ctx.unpublished is not None:
        add_extractor(extractor.manifest, ctx.store, ctx.unpublished)
    artifact = save_classifier(recipe, recipe.preprocess, extractor, trained, ctx.output)
    label = label_in_ledger(artifact, ctx)
    looks, digest = trained.record.looks(), recipe_digest(recipe)
    ledger_of(ctx).add(label, looks, recipe=digest, written_to=ctx.output.root)
    ctx.log(f"classifier {artifact.label}: {artifact.folder}")
    if trained.predictions:
        report(ClassifierResults(artifact.manifest, measured_on, trained.predictions, excluded_files))
    return artifact
