"""`python -m models`: look into the store, check it, and classify pictures without a server."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable
from enum import IntEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table

from models import catalog
from models.answers import answer, pictures
from models.artifacts import DEFAULT_STORE, ClassifierArtifact, ExtractorArtifact, Store, parse_name
from models.errors import ModelNotFound, ModelsError
from models.manifests import CARD_FILE

Predictions = tuple[Path, list[tuple[str, int, float]]]

_BAR = 30

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
    for label, problem in catalog.check(Store(store)):
        if problem is None:
            out.print(f"ok       {label}", highlight=False)
        else:
            refused += 1
            errors.print(f"refused  {label}: {problem}", highlight=False, soft_wrap=True)
    raise typer.Exit(_Exit.FAILED if refused else _Exit.DONE)


@app.command("classify")
def classify_files(
    files: Annotated[list[Path], typer.Argument(help="Pictures, or folders of pictures.")],
    model: Annotated[str, typer.Option(help="NAME or NAME@VERSION of a classifier.")] = "cifar10",
    top: Annotated[int, typer.Option(min=1, help="How many classes to show.")] = 5,
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Least probability of a class to show.")] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON for each picture.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Comma-separated values: file, label, score.")] = False,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Classify pictures here, without a server. Exit code 1 if one of them cannot be read; the rest is done."""
    if as_json and as_csv:
        raise typer.BadParameter("choose one of --json and --csv")
    paths = pictures(files)
    if not paths:
        errors.print(f"There are no pictures in {', '.join(map(str, files))}.", highlight=False, markup=False)
        raise typer.Exit(_Exit.FAILED)
    classifier = catalog.load(Store(store), [model]).classifiers[0]
    broken: dict[Path, str] = {}
    answers = answer(classifier, paths, lambda path, why: broken.__setitem__(path, why))
    write = _write_json if as_json else _write_csv if as_csv else _write_table
    write((path, classifier.top(row, top, threshold)) for path, row in answers)
    for path, why in broken.items():
        errors.print(f"{path}: {why}", highlight=False, soft_wrap=True, markup=False)
    raise typer.Exit(_Exit.FAILED if broken else _Exit.DONE)


def _write_json(answers: Iterable[Predictions]) -> None:
    for path, predictions in answers:
        items = [{"label": label, "index": index, "score": score} for label, index, score in predictions]
        sys.stdout.write(json.dumps({"file": str(path), "predictions": items}, ensure_ascii=False) + "\n")


def _write_csv(answers: Iterable[Predictions]) -> None:
    rows = csv.writer(sys.stdout)
    rows.writerow(["file", "label", "score"])
    for path, predictions in answers:
        rows.writerows([path, label, f"{score:.6f}"] for label, _, score in predictions)


def _write_table(answers: Iterable[Predictions]) -> None:
    for path, predictions in answers:
        table = Table(title=str(path), title_justify="left", show_header=False, box=None)
        for label, _, score in predictions:
            table.add_row(label, f"{score:6.1%}", "█" * round(score * _BAR))
        out.print(table)


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
