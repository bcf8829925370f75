"""From images to a classifier in the store, whole or in parts."""

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
    RecipeArgument,
    ReportOption,
    StoreOption,
    out,
    print_line,
    run_context,
)
from training.cli.reporting import reporting
from training.data.dataset import CACHE_FOLDER
from training.errors import RecipeError
from training.estimators.heads import FITTED_KINDS
from training.recipes import schema as recipes
from training.reporting.tables import metrics_table, trials_table
from training.runtime.tensorflow import enable_onednn


def run_recipe(
    recipe: Annotated[
        str | None, typer.Argument(help="Path of a recipe, or the name of a shipped one; none: your own photographs.")
    ] = None,
    data: DataOption = None,
    name: NameOption = None,
    weights: Annotated[str | None, typer.Option(help="imagenet, random, or a file; instead of the recipe's.")] = None,
    passes: Annotated[
        float | None, typer.Option(min=0, help="Of fitting the network; 0 takes the weights as they are.")
    ] = None,
    refit: Annotated[
        bool | None, typer.Option("--refit/--no-refit", help="At the end fit again, on all images but the test set's.")
    ] = None,
    report: ReportOption = None,
    store: StoreOption = DEFAULT_STORE,
    cache: CacheOption = CACHE_FOLDER,
) -> None:
    """Run a recipe: dataset, network, features, head, test report, store. After a kill, run it again: it goes on.

    Your own photographs need no recipe: run --data FOLDER --name mine, where FOLDER (or a zip or tar of it) has a
    folder of photographs for each class. Broken and doubled files are told and left out, a part is held back to measure
    with, what suits them is chosen by cross-validation; a running server takes the new classifier up by itself.
    """
    if recipe is None and data is None:
        raise typer.BadParameter("name a recipe, or say with --data where your own photographs lie")
    at = run_context(store, data, cache, reporting(report))
    chosen = recipes.load(recipe or "own").changed(name=name, weights=weights, passes=passes, refit=refit)
    if chosen.network and chosen.network.fit:
        enable_onednn()
    with hide_startup_messages():
        from training import train as run
        from training import train_folder as own

    made = run.run(chosen, at) if recipe else own.run(chosen, at)
    if isinstance(made.manifest, ClassifierManifest):
        out.print(metrics_table(made.manifest.metrics))


def extract_features(
    recipe: RecipeArgument,
    data: DataOption = None,
    output: OutputOption = None,
    store: StoreOption = DEFAULT_STORE,
    cache: CacheOption = CACHE_FOLDER,
) -> None:
    """Extract the features of a dataset into the cache, where run, fit and compare find them."""
    chosen = recipes.load(recipe).with_head(output=output)
    with hide_startup_messages():
        from training.heads import inputs

    inputs.stored(chosen, run_context(store, data, cache)).fill_cache()


def fit_head(
    recipe: RecipeArgument,
    data: DataOption = None,
    name: NameOption = None,
    head: Annotated[
        str | None, typer.Option(help="ridge, dense, xgboost or logistic, instead of the recipe's.")
    ] = None,
    output: OutputOption = None,
    tune: Annotated[
        int | None, typer.Option(min=1, help="Choose the head's parameters from so many by cross-validation.")
    ] = None,
    report: ReportOption = None,
    store: StoreOption = DEFAULT_STORE,
    cache: CacheOption = CACHE_FOLDER,
) -> None:
    """Fit the head of a recipe alone, on cached features of an extractor that is in the store, and save it."""
    chosen = recipes.load(recipe).changed(name=name).with_head(head, output, tune)
    if chosen.head is None:
        raise RecipeError(f"{chosen.name} has no [head]. Say which with --head.")
    with hide_startup_messages():
        from training.train import run

    made = run(chosen, run_context(store, data, cache, reporting(report)), stored=True)
    assert isinstance(made.manifest, ClassifierManifest)
    if made.manifest.tuning:
        out.print(trials_table(made.manifest.tuning))
    out.print(metrics_table(made.manifest.metrics))


def compare_heads(
    recipe: RecipeArgument,
    data: DataOption = None,
    head: Annotated[list[str] | None, typer.Option(help="One of several to compare; by default all four.")] = None,
    output: OutputOption = None,
    folds: Annotated[int, typer.Option(min=2, help="Of the cross-validation.")] = 5,
    to: Annotated[Path, typer.Option("--out", help="Folder for the figures and the picture.")] = Path("runs/compare"),
    store: StoreOption = DEFAULT_STORE,
    cache: CacheOption = CACHE_FOLDER,
) -> None:
    """Fit ridge, dense, xgboost and logistic on the same features: cross-validation, test set, times."""
    chosen = recipes.load(recipe).with_head(output=output)
    with hide_startup_messages():
        from training.heads import inputs
    from training.heads.comparison import compare
    from training.reporting import comparison as comparison_report

    given = inputs.stored(chosen, run_context(store, data, cache))
    comparison = compare(chosen, given, head or list(FITTED_KINDS), folds)
    out.print(comparison_report.table(comparison))
    for line in comparison.notes:
        print_line(line)
    for written in comparison_report.write(comparison, to):
        print_line(f"{written}")
