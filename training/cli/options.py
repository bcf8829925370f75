"""What several commands take, and where they write to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from models.artifacts.store import Store
from models.console.progress import track
from training.evaluation.results import Report, unreported
from training.runtime.context import RunContext

RUNS = Path("runs")

out = Console()
errors = Console(stderr=True)

RecipeArgument = Annotated[str, typer.Argument(help="Path of a recipe, or the name of a shipped one.")]
DataOption = Annotated[Path | None, typer.Option("--data", help="Folder or archive of the dataset.")]
NameOption = Annotated[str | None, typer.Option("--name", help="Name of the classifier, instead of the recipe's.")]
OutputOption = Annotated[
    str | None, typer.Option(help="Output of the extractor that is read, such as pooled or probabilities.")
]
ReportOption = Annotated[
    Path | None, typer.Option("--report", help="Folder for report.html and metrics.json; none: runs/NAME-VERSION.")
]
StoreOption = Annotated[Path, typer.Option("--store", help="Folder of the artifacts.")]
CacheOption = Annotated[Path, typer.Option("--cache", help="Features, checkpoints, unpacked archives.")]


def print_line(line: str) -> None:
    """Write a line as it is."""
    out.print(line, highlight=False, soft_wrap=True, markup=False)


def run_context(store: Path, data: Path | None, cache: Path, report: Report = unreported) -> RunContext:
    """The places that the options name, with progress and lines in this terminal."""
    return RunContext(Store(store), track, print_line, data, cache, report=report)
