"""Runs a recipe, from dataset to store.

dataset -> network fit -> extractor -> features -> head fit -> evaluation -> store
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from models import heads
from models.artifacts.store import ClassifierArtifact, ExtractorArtifact, check_name
from models.classifier import Extractor
from models.console.tensorflow_logs import hide_startup_messages
from models.heads import Head
from models.manifests import ExtractorManifest
from training.data.dataset import Dataset
from training.data.run_datasets import RunDatasets
from training.data.split import Split, holdout_indices
from training.estimators.kinds import Softmax
from training.evaluation.probes import load_probes
from training.evaluation.results import Report, do_not_report
from training.evaluation.test_once import MEASURED_WEIGHTS, earlier_test_metrics
from training.heads.finish import describe_dataset, measure_predictions, predict_splits, save_and_report
from training.heads.fit import fit_head
from training.heads.inputs import HeadInputs, check_extractor, check_top_classes, load_extractor
from training.heads.save import TrainedHead
from training.recipes.schema import Recipe
from training.runtime.context import RunContext
from training.runtime.names import printable


def run(
    recipe: Recipe, ctx: RunContext, *, use_stored_extractor: bool = False, report: Report = do_not_report
) -> ExtractorArtifact | ClassifierArtifact:
    """Run a recipe and save the result.

    Args:
        recipe: what to make.
        ctx: folders and output of the run.
        use_stored_extractor: use the extractor in the store, even if the recipe has a [network].
        report: called with the results of the classifier, if it was measured.

    Returns:
        The classifier, or the extractor if the recipe has no head.

    Raises:
        TrainingError, ModelsError: the recipe, its dataset or a model cannot be used; the message says what to do.
    """
    for name in (recipe.name, recipe.extractor.name):
        check_name(name)
    datasets = RunDatasets(recipe, ctx.data_path, ctx.cache, ctx.log_left_out)
    dataset = datasets.of_recipe() if recipe.data and recipe.head else None
    extractors = _make_extractors(recipe, dataset, datasets, ctx, use_stored_extractor)
    if recipe.head is None:
        return extractors.served
    measured = load_extractor(extractors.measured)
    if dataset is None:
        trained = _top_as_head(recipe, measured)
    else:
        recipe, trained = _train_head(recipe, dataset, measured, ctx)
    served = measured
    if extractors.is_refitted:
        served = load_extractor(extractors.served)
        trained = replace(trained, data=trained.data | _describe_refit(recipe, measured.manifest, served.manifest))
    left_out = dataset.left_out if dataset else ()
    return save_and_report(recipe, served, trained, ctx, report, measured_on=measured.manifest, excluded_files=left_out)


@dataclass(frozen=True)
class _Extractors:
    """The extractors of a run.

    Attributes:
        measured: its features are those that the head is fitted, calibrated and measured on.
        served: the one that the classifier is saved with; another one if the network was fitted again on all images.
    """

    measured: ExtractorArtifact
    served: ExtractorArtifact

    @property
    def is_refitted(self) -> bool:
        return self.served is not self.measured


def _make_extractors(
    recipe: Recipe, dataset: Dataset | None, datasets: RunDatasets, ctx: RunContext, use_stored: bool
) -> _Extractors:
    """Finish all fits of the network, before any head is fitted."""
    if recipe.network is None or use_stored:
        artifact = ctx.store.extractor(recipe.extractor.name, recipe.extractor.version)
    else:
        artifact = _build_extractor(recipe, datasets, ctx)
    ctx.log(f"extractor {artifact.label}: {artifact.folder}")
    if recipe.preprocess is not None and recipe.head is not None:
        check_extractor(recipe, recipe.preprocess, artifact)
    if dataset is not None:
        check_top_classes(recipe, dataset, artifact.manifest.tops)
    is_fitted = "kept_step" in artifact.manifest.fitted_on
    if recipe.network is None or use_stored or not (recipe.refit and isinstance(recipe.head, Softmax) and is_fitted):
        return _Extractors(artifact, artifact)
    passes = artifact.manifest.fitted_on["kept_step"]["passes"]
    ctx.log(f"fitting the network again on all images, for {passes:g} passes")
    refitted = _build_extractor(recipe.for_refit(passes), datasets, ctx)
    ctx.log(f"extractor {refitted.label}: {refitted.folder}")
    return _Extractors(artifact, refitted)


def _build_extractor(recipe: Recipe, datasets: RunDatasets, ctx: RunContext) -> ExtractorArtifact:
    with hide_startup_messages():
        from training.extractor.build import build_extractor  # imports TensorFlow, which a head alone does not need

    assert recipe.network is not None
    return build_extractor(recipe, recipe.network, datasets, ctx)


def _top_as_head(recipe: Recipe, extractor: Extractor) -> TrainedHead:
    """Return the network's own top as a head, without metrics, for a recipe without a dataset."""
    classes = extractor.manifest.tops[recipe.extractor.output]
    data = {"fitted_on": extractor.manifest.fitted_on["start"]}
    return TrainedHead(Head(heads.top_softmax(classes, classes)), classes, {}, data, np.empty(0, np.int64))


def _train_head(recipe: Recipe, dataset: Dataset, extractor: Extractor, ctx: RunContext) -> tuple[Recipe, TrainedHead]:
    """Tune, fit and measure the head; return the recipe with the tuned parameters, and the head."""
    assert recipe.preprocess is not None
    inputs = HeadInputs(dataset, extractor, recipe.extractor.output, recipe.preprocess, ctx)
    splits = _labelled_splits(recipe, dataset, ctx)
    tuning: dict[str, Any] = {}
    if recipe.tune:
        from training.heads.tuning import tune_recipe

        recipe, tuning = tune_recipe(recipe, inputs)
    head, holdout_metrics = fit_head(recipe, dataset, extractor, inputs.extract, ctx.log)
    metrics = {"holdout": holdout_metrics}
    stores = [ctx.store] if ctx.unpublished is None else [ctx.store, ctx.unpublished]
    earlier_metrics = earlier_test_metrics(recipe, dataset.digest, extractor, head, stores, ctx.log)
    if earlier_metrics is not None:
        metrics |= earlier_metrics
        del splits["test"]
    holdout = holdout_indices(dataset.train)
    if not splits and not recipe.refit:
        splits["holdout"] = dataset.train.take(holdout)  # a report needs predictions of at least one set
    predictions = predict_splits(head, inputs, splits)
    metrics |= measure_predictions(predictions, dataset.class_names)
    data = _describe_data(recipe, dataset, len(holdout), ctx)
    return recipe, TrainedHead(head, dataset.class_names, metrics, data, holdout, tuning, predictions)


def _labelled_splits(recipe: Recipe, dataset: Dataset, ctx: RunContext) -> dict[str, Split]:
    """Return the sets that the head is measured on: validation and test set, and the recipe's probes."""
    splits = {"valid": dataset.valid, "test": dataset.test}
    return {name: split for name, split in splits.items() if split is not None} | load_probes(recipe, dataset, ctx)


def _describe_data(recipe: Recipe, dataset: Dataset, held_out: int, ctx: RunContext) -> dict[str, Any]:
    assert recipe.data is not None
    name = printable((ctx.data_path or Path(recipe.data.path)).name)
    refits_head = recipe.refit and not isinstance(recipe.head, Softmax)
    fitted_on = len(dataset.train) - (0 if refits_head else held_out)
    return describe_dataset(dataset, name, fitted_on=fitted_on, held_out=held_out)


def _describe_refit(recipe: Recipe, measured: ExtractorManifest, served: ExtractorManifest) -> dict[str, Any]:
    fitted_on = served.fitted_on[recipe.extractor.output]["fitted_on_images"]
    return {MEASURED_WEIGHTS: measured.weights_sha256, "fitted_on_images": fitted_on}
