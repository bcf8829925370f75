"""`python -m models`: look into the store, check it, and classify pictures without a server."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from enum import IntEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table

from models.artifacts import catalog
from models.artifacts.store import DEFAULT_STORE, ClassifierArtifact, ExtractorArtifact, Store, parse_name
from models.console.output import OutputFormat, Results, write
from models.console.progress import Advance, silent, track
from models.console.tensorflow_logs import hide_startup_messages
from models.errors import ModelNotFound, ModelsError
from models.manifests import CARD_FILE
from models.offline import client as remote
from models.offline.predict import classify_files, find_images

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
out = Console()
errors = Console(stderr=True)

StoreOption = Annotated[Path, typer.Option("--store", help="Folder of the artifacts.")]


class _Exit(IntEnum):
    """Exit codes; wrong usage is 2, by typer."""

    DONE = 0
    FAILED = 1


@app.command("list")
def list_models(store: StoreOption = DEFAULT_STORE) -> None:
    """List the classifiers of the store and the extractors below them."""
    table = Table("classifier", "version", "classes", "head", "extractor", "test accuracy")
    for artifact in Store(store).classifiers():
        manifest = artifact.manifest
        test = manifest.metrics.get("test")
        table.add_row(
            manifest.name,
            str(manifest.version),
            str(len(manifest.classes)),
            manifest.head.kind,
            manifest.extractor.name,
            f"{test.accuracy:.1%} of {test.images:,}" if test else "not measured",
        )
    out.print(table)
    table = Table("extractor", "version", "network", "input", "outputs")
    for extractor in Store(store).extractors():
        outputs = ", ".join(f"{name} {width}" for name, width in extractor.manifest.outputs.items())
        size = extractor.manifest.input_size
        table.add_row(
            extractor.manifest.name,
            str(extractor.manifest.version),
            extractor.manifest.network,
            f"{size} px",
            outputs,
        )
    out.print(table)


@app.command()
def show(
    model: Annotated[str, typer.Argument(help="NAME or NAME@VERSION of a classifier or an extractor.")],
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Show a model's card: what it was made of, what was measured, what it is not good for."""
    out.print(Markdown(_find(Store(store), model).read(CARD_FILE).decode()))


@app.command()
def verify(store: StoreOption = DEFAULT_STORE) -> None:
    """Check every file of the store against its digest, and that every model repeats its golden outputs."""
    refused = 0
    with hide_startup_messages():
        for label, problem in catalog.verify(Store(store)):
            if problem is None:
                out.print(f"ok       {label}", highlight=False)
            else:
                refused += 1
                errors.print(f"refused  {label}: {problem}", highlight=False, soft_wrap=True)
    raise typer.Exit(_Exit.FAILED if refused else _Exit.DONE)


@app.command("classify")
def classify_command(
    files: Annotated[list[str], typer.Argument(help="Pictures, folders of pictures, patterns; - for standard input.")],
    model: Annotated[str, typer.Option(help="NAME or NAME@VERSION of a classifier.")] = "cifar10",
    top: Annotated[int, typer.Option(min=1, help="How many classes to show.")] = 5,
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Least probability of a class to show.")] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON for each picture.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Comma-separated values: file, label, score.")] = False,
    as_labels: Annotated[
        bool, typer.Option("--labels", help="Comma-separated Filename,Predictions: the likeliest class alone.")
    ] = False,
    url: Annotated[
        str | None, typer.Option(help="Ask a running server instead, such as http://127.0.0.1:8000.")
    ] = None,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Classify pictures, here or by a server. Exit code 1 if one of them cannot be read; the rest is done."""
    form = _form({OutputFormat.JSON: as_json, OutputFormat.CSV: as_csv, OutputFormat.LABELS: as_labels})
    images = find_images(files)
    if not images:
        errors.print(f"There are no pictures in {', '.join(files)}.", highlight=False, markup=False)
        raise typer.Exit(_Exit.FAILED)
    broken: dict[str, str] = {}
    answers = (
        remote.classify(url, images, model, top, broken.__setitem__)
        if url
        else _answers_here(Store(store), model, images, top, broken.__setitem__)
    )
    # Where the answers appear on the same terminal they show themselves how far it is, and a bar would run into them.
    show = track if sys.stderr.isatty() and not sys.stdout.isatty() else silent
    with show("Classifying", len(images)) as advance:
        write(_counted(answers, threshold, advance), form)
    for name, why in broken.items():
        errors.print(f"{name}: {why}", highlight=False, soft_wrap=True, markup=False)
    raise typer.Exit(_Exit.FAILED if broken else _Exit.DONE)


def _form(asked: Mapping[OutputFormat, bool]) -> OutputFormat:
    forms = [form for form, is_asked in asked.items() if is_asked]
    if len(forms) > 1:
        raise typer.BadParameter("choose one of --json, --csv and --labels")
    return forms[0] if forms else OutputFormat.TABLE


def _answers_here(
    store: Store, model: str, images: Mapping[str, Path], top: int, failed: Callable[[str, str], None]
) -> Results:
    with hide_startup_messages():
        classifier = catalog.load(store, [model]).classifiers[0]
    return ((name, classifier.top(row, top)) for name, row in classify_files(classifier, images, failed))


def _counted(answers: Results, threshold: float, advance: Advance) -> Results:
    for name, predictions in answers:
        yield name, [prediction for prediction in predictions if prediction[2] >= threshold]
        advance(1)


def _find(store: Store, model: str) -> ClassifierArtifact | ExtractorArtifact:
    name, version = parse_name(model)
    try:
        return store.classifier(name, version)
    except ModelNotFound as no_classifier:
        try:
            return store.extractor(name, version)
        except ModelNotFound as no_extractor:
            raise ModelNotFound(f"{no_classifier} {no_extractor}") from no_extractor


def main() -> None:
    """Run the command; an error of use is one line, never a traceback."""
    try:
        app()
    except (ModelsError, OSError) as error:
        errors.print(str(error), style="red", highlight=False, soft_wrap=True, markup=False)
        sys.exit(_Exit.FAILED)


if __name__ == "__main__":
    main()
