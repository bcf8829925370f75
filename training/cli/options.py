"""Options that several commands share, and their output."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from models.artifacts.store import Store
from models.console.progress import track
from training.evaluation.results import ClassifierResults, Report
from training.runtime.context import RunContext

RUNS = Path("runs")

console = Console()
error_console = Console(stderr=True)

RecipeArgument = Annotated[str, typer.Argument(help="Path of a recipe, or the name of a shipped one.")]
DataOption = Annotated[Path | None, typer.Option("--data", help="Folder or archive of the dataset.")]
NameOption = Annotated[
    str | None, typer.Option("--name", help="Name of the classifier. Default: the recipe's; required without a recipe.")
]
OutputOption = Annotated[
    str | None,
    typer.Option(help="Output of the extractor to use as features, such as pooled. Default: the recipe's."),
]
PublishOption = Annotated[
    bool,
    typer.Option(
        "--publish/--no-publish",
        help="Write the result to the store that is served, or to a new store in the report's folder.",
    ),
]
ReportOption = Annotated[
    Path | None,
    typer.Option("--report", help="Folder for report.html and metrics.json. Default: a new folder in runs/."),
]
StoreOption = Annotated[Path, typer.Option("--store", help="Folder of the model store.", show_default="models/store")]
CacheOption = Annotated[
    Path,
    typer.Option(
        "--cache", help="Folder for features, checkpoints, downloads and unpacked archives.", show_default="cache"
    ),
]


def print_line(line: str) -> None:
    """Print a line without markup, highlighting or wrapping."""
    console.print(line, highlight=False, soft_wrap=True, markup=False)


def print_error(line: str, style: str | None = None) -> None:
    """Print a line to standard error without markup, highlighting or wrapping."""
    error_console.print(line, style=style, highlight=False, soft_wrap=True, markup=False)


def make_context(store: Path, data: Path | None, cache: Path, unpublished: Store | None = None) -> RunContext:
    """Return the context of a run that shows its progress in this terminal."""
    return RunContext(Store(store), track, print_line, data, cache, unpublished)


def report_writer(folder: Path | None) -> Report:
    """Return a function that writes a report to a folder (None: runs/NAME-VERSION) and prints its path."""

    def report(results: ClassifierResults) -> None:
        from training.reporting.report import write_report

        manifest = results.manifest
        print_line(f"report: {write_report(results, folder or RUNS / f'{manifest.name}-{manifest.version}')}")

    return report
