"""`python -m training`: from labelled images to a classifier in the store."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from models.artifacts import DEFAULT_STORE, Store, parse_name
from models.errors import ModelsError
from models.manifests import ClassifierManifest
from models.progress import track
from models.quiet import without_greetings
from training import cifar10
from training import recipe as recipes
from training.cifar10 import import_cifar10
from training.datasets import CACHE_FOLDER, DATA_FOLDER, unpacked
from training.errors import RecipeError, TrainingError
from training.figures import metrics_table, trials_table
from training.heads import FITTED_KINDS
from training.importing import import_folders
from training.precision import prefer_onednn

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
out = Console()
errors = Console(stderr=True)

RecipeArgument = Annotated[str, typer.Argument(help="Path of a recipe, or the name of a shipped one.")]
OutputOption = Annotated[
    str | None, typer.Option(help="Output of the extractor that is read, such as pooled or probabilities.")
]
DataOption = Annotated[Path | None, typer.Option("--data", help="Folder or archive of the dataset.")]
StoreOption = Annotated[Path, typer.Option("--store", help="Folder of the artifacts.")]
_NOT_FOR_SERVING = ("tensorflow", "keras", "nncf", "optuna")

CacheOption = Annotated[Path, typer.Option("--cache", help="Features, checkpoints, unpacked archives.")]


@app.command("run")
def run_recipe(
    recipe: RecipeArgument,
    data: DataOption = None,
    name: Annotated[str | None, typer.Option(help="Name of the classifier, instead of the recipe's.")] = None,
    weights: Annotated[str | None, typer.Option(help="imagenet, random, or a file; instead of the recipe's.")] = None,
    passes: Annotated[
        float | None, typer.Option(min=0, help="Of fitting the network; 0 takes the weights as they are.")
    ] = None,
    refit: Annotated[
        bool | None, typer.Option("--refit/--no-refit", help="At the end fit again, on all images but the test set's.")
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    cache: CacheOption = CACHE_FOLDER,
) -> None:
    """Run a recipe: dataset, network, features, head, test report, store. After a kill, run it again: it goes on."""
    chosen = recipes.load(recipe).changed(name=name, weights=weights, passes=passes, refit=refit)
    if chosen.network and chosen.network.fit:
        prefer_onednn()
    with without_greetings():
        from training.run import run
    from training.workplace import Workplace

    made = run(chosen, Workplace(Store(store), track, _say, data, cache))
    if isinstance(made.manifest, ClassifierManifest):
        out.print(metrics_table(made.manifest.metrics))


@app.command("features")
def extract_features(
    recipe: RecipeArgument,
    data: DataOption = None,
    output: OutputOption = None,
    store: StoreOption = DEFAULT_STORE,
    cache: CacheOption = CACHE_FOLDER,
) -> None:
    """Extract the features of a dataset into the cache, where run, fit and compare find them."""
    chosen = recipes.load(recipe).with_head(output=output)
    with without_greetings():
        from training import inputs
    from training.workplace import Workplace

    inputs.stored(chosen, Workplace(Store(store), track, _say, data, cache)).fill_cache()


@app.command("fit")
def fit_head(
    recipe: RecipeArgument,
    data: DataOption = None,
    name: Annotated[str | None, typer.Option(help="Name of the classifier, instead of the recipe's.")] = None,
    head: Annotated[
        str | None, typer.Option(help="ridge, dense, xgboost or logistic, instead of the recipe's.")
    ] = None,
    output: OutputOption = None,
    tune: Annotated[
        int | None, typer.Option(min=1, help="Choose the head's parameters from so many by cross-validation.")
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    cache: CacheOption = CACHE_FOLDER,
) -> None:
    """Fit the head of a recipe alone, on cached features of an extractor that is in the store, and save it."""
    chosen = recipes.load(recipe).changed(name=name).with_head(head, output, tune)
    if chosen.head is None:
        raise RecipeError(f"{chosen.name} has no [head]. Say which with --head.")
    with without_greetings():
        from training.run import run
    from training.workplace import Workplace

    made = run(chosen, Workplace(Store(store), track, _say, data, cache), stored=True)
    assert isinstance(made.manifest, ClassifierManifest)
    if made.manifest.tuning:
        out.print(trials_table(made.manifest.tuning))
    out.print(metrics_table(made.manifest.metrics))


@app.command("compare")
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
    with without_greetings():
        from training import inputs
    from training import comparison_report
    from training.compare import compare
    from training.workplace import Workplace

    given = inputs.stored(chosen, Workplace(Store(store), track, _say, data, cache))
    comparison = compare(chosen, given, head or list(FITTED_KINDS), folds)
    out.print(comparison_report.table(comparison))
    for line in comparison.notes:
        _say(line)
    for written in comparison_report.write(comparison, to):
        _say(f"{written}")


@app.command("import")
def import_dataset(
    name: Annotated[str, typer.Argument(help="`cifar10` for the official archive, or a name of yours.")],
    source: Annotated[
        Path | None, typer.Option("--from", help="Folder or archive; cifar10 is downloaded without.")
    ] = None,
    replace: Annotated[bool, typer.Option(help="Put it in the place of a dataset of that name.")] = False,
    url: Annotated[str, typer.Option(help="Another place of the official archive.")] = cifar10.URL,
    checksum: Annotated[str | None, typer.Option(help="MD5 or SHA-256 of the archive.")] = None,
    folder: Annotated[Path, typer.Option("--into", help="Folder of all datasets.")] = DATA_FOLDER,
) -> None:
    """Bring a dataset into the data folder; files that are broken or twice there are left out and listed."""
    if name == "cifar10":
        report = import_cifar10(source, folder, url=url, checksum=checksum, replace=replace, track=track)
    elif source is None:
        raise typer.BadParameter(f"say with --from where {name} lies; only cifar10 can be downloaded")
    else:
        report = import_folders(name, source, folder, replace=replace, track=track)
    out.print(report.summary())


@app.command("export")
def export_dataset(
    data: Annotated[Path, typer.Argument(help="Folder or archive of a dataset.")],
    to: Annotated[Path, typer.Option("--to", help="The new folder.")],
    shards: Annotated[int, typer.Option(min=1, help="Files for each split.")] = 8,
    replace: Annotated[bool, typer.Option(help="Put it in the place of what is there.")] = False,
    cache: CacheOption = CACHE_FOLDER,
) -> None:
    """Write a dataset as TFRecord shards, which run, features, fit and compare take as well."""
    with without_greetings():
        from training.exporting import export

    for split, images in export(data, to, shards, replace=replace, cache=cache, track=track).items():
        _say(f"{split}: {images:,} images in {to / split}")


@app.command("overview")
def overview(
    data: Annotated[Path, typer.Option("--data", help="Folder or archive of the dataset.")],
    to: Annotated[Path, typer.Option("--out", help="Folder for the pictures.")] = Path("runs/overview"),
) -> None:
    """Count and draw a dataset: images of each class, sizes, a grid of samples."""
    from training.overview import survey
    from training.overview_pictures import draw

    found = survey(unpacked(data, "train"), data.name, track)
    out.print(found.tables())
    for picture in draw(found, to):
        out.print(f"picture: {picture}", highlight=False)


@app.command("evaluate")
def evaluate_model(
    model: Annotated[str, typer.Option(help="NAME or NAME@VERSION of a classifier.")],
    data: Annotated[Path, typer.Option("--data", help="Folder or archive of a labelled dataset.")],
    split: Annotated[str | None, typer.Option(help="Its folder below that; none: the recipe's test set.")] = None,
    rename: Annotated[list[str] | None, typer.Option(help="FOLDER=CLASS, where a folder is named otherwise.")] = None,
    url: Annotated[str | None, typer.Option(help="Ask a running server instead of this process.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="All figures as JSON.")] = False,
    store: StoreOption = DEFAULT_STORE,
    cache: CacheOption = CACHE_FOLDER,
) -> None:
    """Measure a classifier on a labelled set by the serving path: accuracy, top 5, log loss, calibration error."""
    from models.catalog import load_classifier, load_extractor
    from training import evaluate
    from training.metrics import measure

    artifact = Store(store).classifier(*parse_name(model))
    chosen = split or evaluate.test_split(artifact.manifest)
    images = evaluate.labelled_split(data, chosen, artifact.manifest, _pairs(rename or []), cache)
    with track(f"{artifact.label} on {chosen}", len(images)) as advance:
        if url:
            probabilities = evaluate.answer_by_http(url, artifact.manifest, images, advance)
        else:
            with without_greetings():
                classifier = load_classifier(artifact, load_extractor(Store(store).extractor_of(artifact)))
            probabilities = evaluate.answer(classifier, images, advance)
    measured = measure(probabilities, images.labels, artifact.manifest.classes)
    if as_json:
        sys.stdout.write(json.dumps(measured.model_dump(), ensure_ascii=False, indent=2) + "\n")
    else:
        out.print(metrics_table({chosen: measured}))


@app.command("predict")
def predict_folder(
    pictures: Annotated[Path, typer.Argument(help="Folder or archive of pictures without labels.")],
    model: Annotated[str, typer.Option(help="NAME or NAME@VERSION of a classifier.")],
    to: Annotated[Path, typer.Option("--out", help="Folder for results.csv and predictions.png.")] = Path(),
    store: StoreOption = DEFAULT_STORE,
    cache: CacheOption = CACHE_FOLDER,
) -> None:
    """Predict for pictures without labels.

    Writes results.csv (Filename,Predictions: of two classes the probability of the second, of more the likeliest class)
    and predictions.png, five by five of them. Exit code 1 if a picture cannot be read; the rest is done.
    """
    from training import predictions

    images = predictions.unlabelled(pictures, cache)
    with without_greetings():
        from models.catalog import load

        (classifier,) = load(Store(store), [model]).classifiers
    broken: dict[str, str] = {}
    with track("Predicting", len(images)) as advance:
        written = predictions.predict(classifier, images, to, broken.__setitem__, advance)
    _say(f"{written.table}: {predictions.meaning(classifier)} for {len(images) - len(broken):,} pictures")
    _say(f"{written.grid}")
    for name, why in broken.items():
        errors.print(f"{name}: {why}", highlight=False, soft_wrap=True, markup=False)
    raise typer.Exit(1 if broken else 0)


def _say(line: str) -> None:
    out.print(line, highlight=False, soft_wrap=True, markup=False)


def _pairs(texts: list[str]) -> dict[str, str]:
    pairs = dict(text.partition("=")[::2] for text in texts)
    if not all(pairs.values()):
        raise typer.BadParameter("write --rename FOLDER=CLASS")
    return pairs


def main() -> None:
    """Run the command; an error of use is one line, never a traceback."""
    # It is read when the library is first imported. Where others use the processor too, threads of XGBoost that
    # wait for each other by spinning take over four times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        app()
    except (TrainingError, ModelsError, OSError) as error:
        errors.print(str(error), style="red", highlight=False, soft_wrap=True, markup=False)
        sys.exit(1)
    except ModuleNotFoundError as error:
        if error.name not in _NOT_FOR_SERVING:
            raise
        errors.print(
            f"This needs {error.name}, and serving does not: make train RECIPE=..., or install requirements/cpu.lock.",
            style="red",
            highlight=False,
            soft_wrap=True,
        )
        sys.exit(1)


if __name__ == "__main__":
    main()
