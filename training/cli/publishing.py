"""The name of a new classifier, and the store that it is written to."""

from __future__ import annotations

import re
import shlex
import sys
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import typer

from models.artifacts.store import ClassifierArtifact, ExtractorArtifact, Store, check_name
from models.errors import ArtifactError
from models.manifests import ExtractorManifest
from training.cli.options import RUNS, make_context, print_line, report_writer
from training.errors import RecipeError
from training.evaluation.results import Report
from training.runtime.context import RunContext

#: Name that is suggested for a folder without any usable character.
_FALLBACK_NAME = "classifier"


@dataclass(frozen=True)
class RunFolders:
    """Folders that a command was given: the model store, the dataset (None: the recipe's) and the cache."""

    store: Path
    data: Path | None
    cache: Path


def choose_name(data: Path | None) -> str:
    """Ask for the name of a classifier of the user's own images.

    Raises:
        RecipeError: standard input or output is no terminal.
    """
    suggestion = suggest_name(data) if data else _FALLBACK_NAME
    if sys.stdin.isatty() and sys.stdout.isatty():
        answer: str = typer.prompt("Name of the classifier", default=suggestion, value_proc=_check_answer)
        return answer
    raise RecipeError(f"Give the classifier the name under which it is served, for example --name {suggestion}")


def suggest_name(data: Path) -> str:
    """Derive a valid name from that of a folder or an archive."""
    name = re.sub(r"(\.tar)?\.[a-z0-9]{1,3}$", "", data.name, flags=re.IGNORECASE) if data.is_file() else data.name
    ascii_name = unicodedata.normalize("NFKD", name or data.resolve().name).encode("ascii", "ignore").decode()
    valid = re.sub(r"[^a-z0-9.-]+", "_", ascii_name.lower()).strip("_.-")[:64]
    return valid or _FALLBACK_NAME


def open_run(name: str, folders: RunFolders, report: Path | None, *, publish: bool) -> tuple[RunContext, Report]:
    """Return the context and the report writer of a run, and print which store it writes to.

    Args:
        name: of the classifier.
        folders: of the run.
        report: folder of the report; None means the default one.
        publish: write to the store that extractors are read from, instead of one in the folder of the report.
    """
    if publish:
        print_line(f"store: {folders.store.resolve()}, from which servers load the result")
        return make_context(folders.store, folders.data, folders.cache), report_writer(report)
    report = report or RUNS / f"{name}-unpublished"
    unpublished = Store(report / "store")
    print_line(f"store: {unpublished.root.resolve()}, which no server uses: the result is not published")
    return make_context(folders.store, folders.data, folders.cache, unpublished), report_writer(report)


def print_use(artifact: ClassifierArtifact | ExtractorArtifact, ctx: RunContext) -> None:
    """Print where an unpublished result is, and how to use it; nothing if it is published."""
    if ctx.unpublished is None:
        return
    folder, name = shlex.quote(str(ctx.unpublished.root.resolve())), artifact.manifest.name
    command = f"show {name}" if isinstance(artifact.manifest, ExtractorManifest) else f"classify IMAGES --model {name}"
    print_line(f"not published: use {artifact.label} with --store, or serve it with APP_STORE={folder}")
    print_line(f"  python -m models {command} --store {folder}")


def _check_answer(answer: str) -> str:
    try:
        check_name(answer)
    except ArtifactError as error:
        raise typer.BadParameter(str(error)) from error
    return answer
