"""Commands that make classifiers: run, features, fit and compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from models.artifacts.store import DEFAULT_STORE
from models.console.tensorflow_logs import hide_startup_messages
from models.manifests import ClassifierManifest
from training.cli.options import (
    CacheOption,
    DataOption,
    NameOption,
    OutputOption,
    PublishOption,
    RecipeArgument,
    ReportOption,
    StoreOption,
    console,
    make_context,
    print_line,
)
from training.cli.publishing import RunFolders, choose_name, open_run, print_use
from training.errors import RecipeError
from training.estimators.kinds import FITTED_KINDS
from training.recipes.load import load_recipe
from training.recipes.schema import Recipe
from training.reporting.tables import metrics_table, set_lines, trials_table
from training.runtime.folders import CACHE_FOLDER
from training.runtime.tensorflow import enable_onednn

#: The recipe that a run without a recipe starts from. Its name is a placeholder: the user names the classifier.
_DEFAULT_RECIPE = "own"


def run_recipe(
    recipe: Annotated[
        str | None,
        typer.Argument(help="Path of a recipe, or the name of a shipped one. Default: train on the folder in --data."),
    ] = None,
    data: DataOption = None,
    name: NameOption = None,
    weights: Annotated[
        str | None, typer.Option(help="Initial weights: imagenet, random, or a file. Default: the recipe's.")
    ] = None,
    passes: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Number of epochs (passes over the largest dataset); 0 keeps the initial weights. "
            "Default: the recipe's.",
        ),
    ] = None,
    refit: Annotated[
        bool | None,
        typer.Option(
            "--refit/--no-refit",
            help="After evaluation, fit the head again on all images except the test set. Default: the recipe's.",
        ),
    ] = None,
    publish: PublishOption = True,
    report: ReportOption = None,
    store: StoreOption = DEFAULT_STORE,
    cache: CacheOption = CACHE_FOLDER,
) -> None:
    """Import the dataset, fit the network, extract features, fit the head, write the report and save the classifier.

    An interrupted run resumes when it is run again.

    Your own images need no recipe. Use `run --data FOLDER --name NAME`, where FOLDER (or a zip or tar archive of it)
    has one folder of images for each class. Damaged and duplicate files are listed and skipped, some images are held
    out for evaluation, and the head and its preprocessing are chosen by cross-validation. A running server loads the
    new classifier automatically; with `--no-publish` it is written to a store of its own, below the report.
    """
    if recipe is None and data is None:
        raise typer.BadParameter("name a recipe, or give the folder of your own images with --data")
    config = load_recipe(recipe or _DEFAULT_RECIPE)
    config = config.with_overrides(name=_chosen_name(config, name, data), weights=weights, passes=passes, refit=refit)
    context, write_report = open_run(config.name, RunFolders(store, data, cache), report, publish=publish)
    if config.network and config.network.fit:
        enable_onednn()
    with hide_startup_messages():
        from training import train, train_folder

    if recipe:
        artifact = train.run(config, context, report=write_report)
    else:
        artifact = train_folder.run(config, context, write_report)
    if isinstance(artifact.manifest, ClassifierManifest):
        _print_metrics(artifact.manifest)
    print_use(artifact, context)


def extract_features(
    recipe: RecipeArgument,
    data: DataOption = None,
    output: OutputOption = None,
    store: StoreOption = DEFAULT_STORE,
    cache: CacheOption = CACHE_FOLDER,
) -> None:
    """Extract the features of a dataset into the cache that `run`, `fit` and `compare` use."""
    config = load_recipe(recipe).with_head(output=output)
    with hide_startup_messages():
        from training.heads import inputs

    inputs.open_with_stored_extractor(config, make_context(store, data, cache)).fill_cache()


def fit_head(
    recipe: RecipeArgument,
    data: DataOption = None,
    name: NameOption = None,
    head: Annotated[str | None, typer.Option(help="ridge, dense, xgboost or logistic. Default: the recipe's.")] = None,
    output: OutputOption = None,
    tune: Annotated[
        int | None,
        typer.Option(min=1, help="Number of hyperparameter trials; the best by cross-validation is used."),
    ] = None,
    publish: PublishOption = True,
    report: ReportOption = None,
    store: StoreOption = DEFAULT_STORE,
    cache: CacheOption = CACHE_FOLDER,
) -> None:
    """Fit only the head of a recipe, on cached features of an extractor in the store, and save the classifier."""
    config = load_recipe(recipe)
    config = config.with_overrides(name=_chosen_name(config, name, data)).with_head(head, output, tune)
    if config.head is None:
        raise RecipeError(f"{config.name} has no [head]. Choose one with --head.")
    with hide_startup_messages():
        from training import train

    context, write_report = open_run(config.name, RunFolders(store, data, cache), report, publish=publish)
    artifact = train.run(config, context, use_stored_extractor=True, report=write_report)
    assert isinstance(artifact.manifest, ClassifierManifest)
    if artifact.manifest.tuning:
        console.print(trials_table(artifact.manifest.tuning))
    _print_metrics(artifact.manifest)
    print_use(artifact, context)


def compare_heads(
    recipe: RecipeArgument,
    data: DataOption = None,
    head: Annotated[
        list[str] | None, typer.Option(help="Kind of head to compare; repeat it for several. Default: all four.")
    ] = None,
    output: OutputOption = None,
    folds: Annotated[int, typer.Option(min=2, help="Folds of the cross-validation.")] = 5,
    to: Annotated[Path, typer.Option("--out", help="Folder for the metrics table and the plot.")] = Path(
        "runs/compare"
    ),
    store: StoreOption = DEFAULT_STORE,
    cache: CacheOption = CACHE_FOLDER,
) -> None:
    """Compare heads on the same features: cross-validation, test set and times of ridge, dense, xgboost, logistic."""
    config = load_recipe(recipe).with_head(output=output)
    with hide_startup_messages():
        from training.heads import comparison, inputs
    from training.reporting.comparison import comparison_table, write_comparison

    head_inputs = inputs.open_with_stored_extractor(config, make_context(store, data, cache))
    result = comparison.compare_heads(config, head_inputs, head or list(FITTED_KINDS), folds)
    console.print(comparison_table(result))
    for line in result.notes:
        print_line(line)
    for path in write_comparison(result, to):
        print_line(f"{path}")


def _print_metrics(manifest: ClassifierManifest) -> None:
    console.print(metrics_table(manifest.metrics))
    for line in set_lines(manifest):
        print_line(line)


def _chosen_name(recipe: Recipe, name: str | None, data: Path | None) -> str | None:
    """Return the name that the user gives the classifier; None keeps the recipe's, unless it is a placeholder."""
    return choose_name(data) if name is None and recipe.name == _DEFAULT_RECIPE else name
