"""The last steps of every run: predict the labelled sets, measure the head, save the classifier, report the results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models.artifacts.store import ClassifierArtifact
from models.classifier import Extractor
from models.heads import Head
from models.manifests import ExtractorManifest, Metrics
from training.data.dataset import Dataset
from training.data.split import Split
from training.evaluation import metrics
from training.evaluation.results import ClassifierResults, LabelledPredictions, Report
from training.heads.inputs import HeadInputs
from training.heads.save import TrainedHead, save_classifier
from training.heads.unpublished import add_extractor
from training.recipes.schema import Recipe
from training.runtime.context import RunContext


def predict_splits(head: Head, inputs: HeadInputs, splits: Mapping[str, Split]) -> dict[str, LabelledPredictions]:
    """Predict labelled sets by their names."""
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


def describe_dataset(dataset: Dataset, name: str, *, fitted_on: int, held_out: int) -> dict[str, Any]:
    """Describe the dataset of a classifier for its manifest.

    Args:
        dataset: of the run.
        name: of the folder or archive.
        fitted_on: number of images that the head was fitted on.
        held_out: number of images that the temperature was fitted on.
    """
    return {
        "dataset": name,
        "digest": dataset.digest,
        "training_images": len(dataset.train),
        "fitted_on_images": fitted_on,
        "held_out_images": held_out,
        "test_images": 0 if dataset.test is None else len(dataset.test),
    }


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
    ctx.log(f"classifier {artifact.label}: {artifact.folder}")
    if trained.predictions:
        report(ClassifierResults(artifact.manifest, measured_on, trained.predictions, excluded_files))
    return artifact
