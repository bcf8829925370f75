"""Runs a recipe, from dataset to store.

dataset -> network fit -> extractor -> features -> head fit -> evaluation -> store
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from models.artifacts.store import ClassifierArtifact, ExtractorArtifact, check_name
from models.console.tensorflow_logs import hide_startup_messages
from models.manifests import ExtractorManifest
from training.data.dataset import Dataset
from training.estimators.kinds import Softmax
from training.evaluation.results import Report, do_not_report
from training.evaluation.test_once import MEASURED_WEIGHTS, earlier_test
from training.heads.finish import describe_partition, measure_predictions, predict_sets, record_sets, save_and_report
from training.heads.fit import fit_head
from training.heads.inputs import HeadInputs, check_extractor, check_top_classes, load_extractor, make_inputs
from training.heads.published_top import top_as_head
from training.heads.save import TrainedHead
from training.partition.partition import FIT, HOLDOUT, TEST, TRAIN, Partition
from training.partition.record import Record, Stage
from training.partition.run_partitions import RunPartitions
from training.recipes.parents import read_parents
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
    partitions = RunPartitions(recipe, ctx, fits_network=not use_stored_extractor)
    dataset = partitions.recipe_dataset() if recipe.data and recipe.head else None
    if dataset is not None:
        read_parents(recipe.parents, dataset.class_names)  # fails before anything is fitted
    extractors = _make_extractors(recipe, dataset, partitions, ctx, use_stored_extractor)
    if recipe.head is None:
        return extractors.served
    if dataset is None:
        measured = load_extractor(extractors.measured)
        trained = top_as_head(recipe, extractors.measured, measured, ctx)
    else:
        inputs = make_inputs(recipe, partitions.of_recipe(Record()), extractors.measured, ctx)
        measured = inputs.extractor
        recipe, trained = _train_head(recipe, inputs, "network" if extractors.is_refitted else "")
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
    recipe: Recipe, dataset: Dataset | None, partitions: RunPartitions, ctx: RunContext, use_stored: bool
) -> _Extractors:
    """Finish all fits of the network, before any head is fitted."""
    if recipe.network is None or use_stored:
        artifact = ctx.store.extractor(recipe.extractor.name, recipe.extractor.version)
    else:
        artifact = _build_extractor(recipe, partitions, ctx)
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
    refitted = _build_extractor(recipe.for_refit(passes), partitions, ctx)
    ctx.log(f"extractor {refitted.label}: {refitted.folder}")
    return _Extractors(artifact, refitted)


def _build_extractor(recipe: Recipe, partitions: RunPartitions, ctx: RunContext) -> ExtractorArtifact:
    with hide_startup_messages():
        from training.extractor.build import build_extractor  # imports TensorFlow, which a head alone does not need

    assert recipe.network is not None
    return build_extractor(recipe, recipe.network, partitions, ctx)


def _train_head(recipe: Recipe, inputs: HeadInputs, refitted: str) -> tuple[Recipe, TrainedHead]:
    """Tune, fit and measure the head; return the recipe with the tuned parameters, and the head."""
    partition, ctx, log = inputs.partition, inputs.ctx, inputs.ctx.log
    tuning: dict[str, Any] = {}
    if recipe.tune:
        from training.heads.tuning import tune_recipe

        recipe, tuning = tune_recipe(recipe, inputs)
    head, holdout_metrics = fit_head(recipe, partition, inputs.extractor, inputs.extract, log)
    names = partition.measured(Stage.REPORT)
    earlier = earlier_test(recipe, partition, inputs.extractor, head, ctx) if TEST in names else None
    if earlier is not None:
        names.remove(TEST)
    predictions = predict_sets(head, inputs, names)
    if not predictions and not recipe.refit:
        predictions = predict_sets(head, inputs, [HOLDOUT])  # a report needs predictions of at least one set
    metrics = {"holdout": holdout_metrics} | (earlier.metrics if earlier else {})
    metrics |= measure_predictions(predictions, partition.dataset.class_names)
    sets = record_sets(inputs, partition.record, refitted) | (earlier.sets if earlier else {})
    return recipe, TrainedHead(
        head=head,
        classes=partition.dataset.class_names,
        metrics=metrics,
        data=_describe_data(recipe, partition, ctx),
        holdout_indices=partition.holdout_indices,
        record=partition.record,
        sets={name: record for name, record in sets.items() if name in metrics},
        tuning=tuning,
        predictions=predictions,
    )


def _describe_data(recipe: Recipe, partition: Partition, ctx: RunContext) -> dict[str, Any]:
    assert recipe.data is not None
    name = printable((ctx.data_path or Path(recipe.data.path)).name)
    refits_head = recipe.refit and not isinstance(recipe.head, Softmax)
    return describe_partition(partition, name, TRAIN if refits_head else FIT)


def _describe_refit(recipe: Recipe, measured: ExtractorManifest, served: ExtractorManifest) -> dict[str, Any]:
    fitted_on = served.fitted_on[recipe.extractor.output]["fitted_on_images"]
    return {MEASURED_WEIGHTS: measured.weights_sha256, "fitted_on_images": fitted_on}
