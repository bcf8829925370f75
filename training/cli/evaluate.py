"""Commands that use a classifier of the store: evaluate on labelled images, predict for unlabelled ones."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from models.artifacts.store import DEFAULT_STORE, Store, parse_name
from models.console.encoding import json_text, path_text
from models.console.progress import track
from models.console.table import POST_MEANING
from models.console.tensorflow_logs import hide_startup_messages
from training.cli.options import (
    RUNS,
    CacheOption,
    ReportOption,
    StoreOption,
    console,
    print_error,
    print_line,
)
from training.evaluation.results import ClassifierResults, LabelledPredictions
from training.reporting.tables import metrics_table
from training.runtime.context import log_left_out
from training.runtime.folders import CACHE_FOLDER
from training.set_notes import set_notes


def evaluate_model(
    model: Annotated[str, typer.Option(help="NAME or NAME@VERSION of a classifier.")],
    data: Annotated[Path, typer.Option("--data", help="Folder or archive of a labelled dataset.")],
    split: Annotated[
        str | None,
        typer.Option(
            help="Folder of the split in the dataset. Default: the test set named in the classifier's manifest."
        ),
    ] = None,
    rename: Annotated[
        list[str] | None, typer.Option(help="FOLDER=CLASS, for a class folder that is not named like its class.")
    ] = None,
    url: Annotated[str | None, typer.Option(help="URL of a running server to use instead of this process.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all metrics as JSON.")] = False,
    report: ReportOption = None,
    store: StoreOption = DEFAULT_STORE,
    cache: CacheOption = CACHE_FOLDER,
) -> None:
    """Evaluate a classifier on labelled images: accuracy, top-5 accuracy, log loss and calibration error.

    The images take the same path as in the server: decoding, preprocessing, extractor, head.
    """
    from models.artifacts.catalog import load_classifier, load_extractor
    from training.evaluation import evaluate
    from training.evaluation.ledger import Ledger
    from training.evaluation.metrics import measure
    from training.evaluation.seen import seen_by_artifact
    from training.evaluation.set_records import Histories
    from training.reporting.report import write_report

    artifact = Store(store).classifier(*parse_name(model))
    manifest = artifact.manifest
    split = split or evaluate.test_split_name(manifest)
    log = partial(log_left_out, print_error)  # standard output may be JSON
    images = evaluate.load_labelled_split(data, split, manifest, _parse_renames(rename or []), cache, log)
    with track(f"{artifact.label} on {split}", len(images)) as advance:
        if url:
            probabilities = evaluate.predict_by_http(url, manifest, images, advance)
        else:
            with hide_startup_messages():
                classifier = load_classifier(artifact, load_extractor(Store(store).extractor_of(artifact)))
            probabilities = evaluate.predict(classifier, images, advance)
    metrics = measure(probabilities, images.labels, manifest.classes)
    if as_json:
        sys.stdout.write(json_text(metrics.model_dump(), sys.stdout.encoding, indent=2) + "\n")
    else:
        console.print(metrics_table({split: metrics}))
    extractor = Store(store).extractor_of(artifact)
    name, ledger = path_text(split), Ledger(Store(store).root, log=print_error)
    record = Histories(seen_by_artifact(extractor), seen_by_artifact(artifact), ledger).of(images)
    ledger.add(f"evaluate {artifact.label}", [(name, images)])
    for note in set_notes(record):
        print_error(f"{name}: {note}")
    predictions = {name: LabelledPredictions(images, probabilities)}
    results = ClassifierResults(manifest, extractor.manifest, predictions, sets={name: record})
    page = write_report(results, report or RUNS / f"{manifest.name}-{manifest.version}-{split}")
    print_error(f"report: {page}")


def predict_folder(
    images: Annotated[Path, typer.Argument(help="Folder or archive of unlabelled images.")],
    model: Annotated[str, typer.Option(help="NAME or NAME@VERSION of a classifier.")],
    to: Annotated[Path, typer.Option("--out", help="Folder for results.csv and predictions.png.")] = Path(),
    as_post: Annotated[bool, typer.Option("--post", help=f"Write CSV as the blog post: {POST_MEANING}.")] = False,
    store: StoreOption = DEFAULT_STORE,
    cache: CacheOption = CACHE_FOLDER,
) -> None:
    """Predict the class of unlabelled images.

    Writes results.csv with the columns file, label, score and error, as `python -m models classify --labels`, and
    predictions.png with up to 25 of the images. If some images cannot be read, the others are still classified and the
    exit code is 1.
    """
    from training.evaluation import predictions

    failures: dict[str, str] = {}
    paths = predictions.find_unlabelled_images(images, cache, failures.__setitem__)
    files = len(paths) + len(failures)
    with hide_startup_messages():
        from models.artifacts.catalog import load

        (classifier,) = load(Store(store), [model]).classifiers
    with track("Predicting", files) as advance:
        written = predictions.write_predictions(classifier, paths, to, failures, advance, as_post=as_post)
    print_line(f"{written.table}: predictions for {files - len(failures):,} images")
    print_line(f"{written.plot}")
    for name, reason in failures.items():
        print_error(f"{name}: {reason}")
    raise typer.Exit(1 if failures else 0)


def _parse_renames(arguments: list[str]) -> dict[str, str]:
    renames = dict(argument.partition("=")[::2] for argument in arguments)
    if not all(renames.values()):
        raise typer.BadParameter("write --rename FOLDER=CLASS")
    return renames
