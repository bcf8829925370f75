"""What a classifier of the store answers: on labelled images, to be measured, and on pictures without labels."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from models.artifacts.store import DEFAULT_STORE, Store, parse_name
from models.console.progress import track
from models.console.tensorflow_logs import hide_startup_messages
from training.cli.options import RUNS, CacheOption, ReportOption, StoreOption, errors, out, print_line
from training.data.dataset import CACHE_FOLDER
from training.evaluation.results import ClassifierResults, Predictions
from training.reporting.tables import metrics_table


def evaluate_model(
    model: Annotated[str, typer.Option(help="NAME or NAME@VERSION of a classifier.")],
    data: Annotated[Path, typer.Option("--data", help="Folder or archive of a labelled dataset.")],
    split: Annotated[str | None, typer.Option(help="Its folder below that; none: the recipe's test set.")] = None,
    rename: Annotated[list[str] | None, typer.Option(help="FOLDER=CLASS, where a folder is named otherwise.")] = None,
    url: Annotated[str | None, typer.Option(help="Ask a running server instead of this process.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="All figures as JSON.")] = False,
    report: ReportOption = None,
    store: StoreOption = DEFAULT_STORE,
    cache: CacheOption = CACHE_FOLDER,
) -> None:
    """Measure a classifier on a labelled set by the serving path: accuracy, top 5, log loss, calibration error."""
    from models.artifacts.catalog import load_classifier, load_extractor
    from training.evaluation import evaluate
    from training.evaluation.metrics import measure
    from training.reporting.report import write

    artifact = Store(store).classifier(*parse_name(model))
    manifest = artifact.manifest
    chosen = split or evaluate.test_split(manifest)
    images = evaluate.labelled_split(data, chosen, manifest, _pairs(rename or []), cache)
    with track(f"{artifact.label} on {chosen}", len(images)) as advance:
        if url:
            probabilities = evaluate.predict_by_http(url, manifest, images, advance)
        else:
            with hide_startup_messages():
                classifier = load_classifier(artifact, load_extractor(Store(store).extractor_of(artifact)))
            probabilities = evaluate.predict(classifier, images, advance)
    measured = measure(probabilities, images.labels, manifest.classes)
    if as_json:
        sys.stdout.write(json.dumps(measured.model_dump(), ensure_ascii=False, indent=2) + "\n")
    else:
        out.print(metrics_table({chosen: measured}))
    below = Store(store).extractor_of(artifact).manifest
    folder = report or RUNS / f"{manifest.name}-{manifest.version}-{chosen}"
    page = write(ClassifierResults(manifest, below, {chosen: Predictions(images, probabilities)}), folder)
    errors.print(f"report: {page}", highlight=False, soft_wrap=True, markup=False)


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
    from training.evaluation import predictions

    images = predictions.unlabelled(pictures, cache)
    with hide_startup_messages():
        from models.artifacts.catalog import load

        (classifier,) = load(Store(store), [model]).classifiers
    broken: dict[str, str] = {}
    with track("Predicting", len(images)) as advance:
        written = predictions.predict(classifier, images, to, broken.__setitem__, advance)
    print_line(f"{written.table}: {predictions.meaning(classifier)} for {len(images) - len(broken):,} pictures")
    print_line(f"{written.grid}")
    for name, why in broken.items():
        errors.print(f"{name}: {why}", highlight=False, soft_wrap=True, markup=False)
    raise typer.Exit(1 if broken else 0)


def _pairs(texts: list[str]) -> dict[str, str]:
    pairs = dict(text.partition("=")[::2] for text in texts)
    if not all(pairs.values()):
        raise typer.BadParameter("write --rename FOLDER=CLASS")
    return pairs
