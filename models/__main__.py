"""Command line of the model store: list, show and verify models, and classify images without a server."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import IntEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table

from models.artifacts import catalog
from models.artifacts.store import DEFAULT_STORE, ClassifierArtifact, ExtractorArtifact, Store, parse_name
from models.console.encoding import make_output_lossless
from models.console.output import OutputFormat, write
from models.console.progress import Advance, silent, track
from models.console.table import POST_MEANING, POST_PREDICTIONS
from models.console.tensorflow_logs import hide_startup_messages
from models.decoding.resample import resizer_name
from models.errors import ModelNotFound, ModelsError
from models.manifests import CARD_FILE
from models.offline import client
from models.offline.predict import classify_files, find_images
from models.offline.results import Answer, Result, in_order

app = typer.Typer(
    help="List, show and verify the models of a store, and classify images without a server.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
stdout = Console()
stderr = Console(stderr=True)

StoreOption = Annotated[Path, typer.Option("--store", help="Folder of the model store.", show_default="models/store")]

_PREDICTIONS = {OutputFormat.LABELS: 1, OutputFormat.POST: POST_PREDICTIONS}
"""Number of classes per image of the formats that do not let the user choose it."""


class _ExitCode(IntEnum):
    """Exit codes; typer exits with 2 on wrong usage."""

    OK = 0
    FAILED = 1


@app.command("list")
def list_models(store: StoreOption = DEFAULT_STORE) -> None:
    """List the classifiers and extractors of the store."""
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
    stdout.print(table)
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
    stdout.print(table)


@app.command()
def show(
    model: Annotated[str, typer.Argument(help="NAME or NAME@VERSION of a classifier or an extractor.")],
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Show a model card: training data, metrics and limitations."""
    stdout.print(Markdown(_find(Store(store), model).read(CARD_FILE).decode()))


@app.command()
def verify(store: StoreOption = DEFAULT_STORE) -> None:
    """Verify the digest of every file, and that every model agrees with its golden outputs.

    Heads must return them, extractors come as close to them on this machine as their manifests require.
    """
    invalid = 0
    stdout.print(f"images are resized with {resizer_name()}", highlight=False, soft_wrap=True, markup=False)
    with hide_startup_messages():
        for label, error in catalog.verify(Store(store)):
            if error is None:
                stdout.print(f"ok       {label}", highlight=False, soft_wrap=True, markup=False)
            else:
                invalid += 1
                _print_error(f"invalid  {label}: {error}")
    raise typer.Exit(_ExitCode.FAILED if invalid else _ExitCode.OK)


@app.command("classify")
def classify_command(
    files: Annotated[list[str], typer.Argument(help="Image files, folders, glob patterns, or - for standard input.")],
    model: Annotated[str, typer.Option(help="NAME or NAME@VERSION of a classifier.")] = "imagenet",
    top: Annotated[int, typer.Option(min=1, help="Maximum number of classes per image.")] = 5,
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Minimum probability of a class.")] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Write one line of JSON per image.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Write CSV: file,label,score,error.")] = False,
    as_labels: Annotated[
        bool, typer.Option("--labels", help="Write the same CSV with only the most likely class, one row per image.")
    ] = False,
    as_post: Annotated[bool, typer.Option("--post", help=f"Write CSV as the blog post: {POST_MEANING}.")] = False,
    url: Annotated[str | None, typer.Option(help="Use a running server, such as http://127.0.0.1:8000.")] = None,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Classify images locally, or with a running server (--url).

    Images that cannot be read are reported at the end, with exit code 1, and have their error in JSON and CSV; the
    others are still classified.
    """
    flags = {
        OutputFormat.JSON: as_json,
        OutputFormat.CSV: as_csv,
        OutputFormat.LABELS: as_labels,
        OutputFormat.POST: as_post,
    }
    output_format = _output_format(flags)
    if output_format is OutputFormat.POST and threshold > 0:
        raise typer.BadParameter("--post has a prediction for every image: leave out --threshold")
    top = _PREDICTIONS.get(output_format, top)
    images = find_images(files)
    if not images:
        _print_error(f"No images found in {', '.join(files)}.")
        raise typer.Exit(_ExitCode.FAILED)
    failures: dict[str, str] = {}
    classified = (
        client.classify(url, images, model, top, failures.__setitem__)
        if url
        else _classify_locally(Store(store), model, images, top, failures.__setitem__)
    )
    # In a terminal the results themselves show the progress; a bar would be mixed with them.
    show_progress = track if sys.stderr.isatty() and not sys.stdout.isatty() else silent
    with show_progress("Classifying", len(images)) as advance:
        write(_filter(in_order(images, classified, failures), threshold, advance), output_format)
    for name, reason in failures.items():
        _print_error(f"{name}: {reason}")
    raise typer.Exit(_ExitCode.FAILED if failures else _ExitCode.OK)


def _output_format(flags: Mapping[OutputFormat, bool]) -> OutputFormat:
    chosen = [output_format for output_format, is_set in flags.items() if is_set]
    if len(chosen) > 1:
        raise typer.BadParameter("choose one of --json, --csv, --labels and --post")
    return chosen[0] if chosen else OutputFormat.TEXT


def _classify_locally(
    store: Store, model: str, images: Mapping[str, Path], top: int, on_failure: Callable[[str, str], None]
) -> Iterator[tuple[str, Answer]]:
    with hide_startup_messages():
        classifier = catalog.load(store, [model]).classifiers[0]
    return (
        (name, Answer(classifier.top(row, top), classifier.parents(row)))
        for name, row in classify_files(classifier, images, on_failure)
    )


def _filter(results: Iterable[Result], threshold: float, advance: Advance) -> Iterator[Result]:
    """Drop predictions and coarser classes below the threshold, and report each image as done."""
    for result in results:
        yield result._replace(
            predictions=[item for item in result.predictions if item[2] >= threshold],
            parents=None if result.parents is None else [item for item in result.parents if item[1] >= threshold],
        )
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


def _print_error(line: str, style: str | None = None) -> None:
    """Print a line to standard error without markup, highlighting or wrapping."""
    stderr.print(line, style=style, highlight=False, soft_wrap=True, markup=False)


def main() -> None:
    """Run a command; print expected errors as one line."""
    make_output_lossless()
    try:
        app()
    except (ModelsError, OSError) as error:
        _print_error(str(error), style="red")
        sys.exit(_ExitCode.FAILED)


if __name__ == "__main__":
    main()
