"""Published metrics of the blog posts that this project is based on, beside its own; `python -m benchmarks published`.

Nothing is measured: the metrics come from the model store and from the output of `python -m training compare`. Where a
metric is missing, the table names the command that measures it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.options import StoreOption
from models.artifacts.store import DEFAULT_STORE, Store
from models.errors import ModelNotFound
from models.manifests import Metrics
from training.errors import TrainingError
from training.heads.comparison import HeadComparison


@dataclass(frozen=True)
class PublishedSystem:
    """A system of a post, or one of this project for the same task.

    Attributes:
        task: classes or dataset.
        name: description of the system.
        post: metric of the post; empty if the post has no such system.
        source: of our metric: a kind of head in the comparison on CIFAR-10, or the name of a classifier in the store.
        measured_on: name of the labelled split; always the test set for the comparison.
        command: arguments of `python -m training` that measure it.
        reason: why the metrics differ.
    """

    task: str
    name: str
    post: str
    source: str
    measured_on: str
    command: str
    reason: str


@dataclass(frozen=True)
class TableRow:
    """A system and our metrics for it, or None if it has not been measured."""

    system: PublishedSystem
    metrics: Metrics | None


_COMPARE = "compare cifar10"
_CIFAR_REASON = (
    "the post's network was trained on ImageNet only, at 299 px, and returns 1,001 probabilities; ours is at 96 px, "
    "was trained on CIFAR-10's training images too, and returns 2,048 features. "
    "Images here are JPEG, which loses detail"
)

SYSTEMS = (
    PublishedSystem("CIFAR-10", "ridge, alpha 1e-5", ".7357", "ridge", "test", _COMPARE, _CIFAR_REASON),
    PublishedSystem("CIFAR-10", "dense 2048-512-64", ".7977", "dense", "test", _COMPARE, "as above"),
    PublishedSystem("CIFAR-10", "XGBoost, 100 trees of depth 4", ".8176", "xgboost", "test", _COMPARE, "as above"),
    PublishedSystem("CIFAR-10", "logistic regression", "", "logistic", "test", _COMPARE, "not in the post"),
    PublishedSystem(
        "cats vs dogs",
        "small CNN from scratch, 150 px",
        ".894 (log loss .261)",
        "cats_dogs_cnn",
        "valid",
        "run cats_dogs_cnn",
        "2,000 training images, of which 1,900 are fitted; the post had 20,000",
    ),
    PublishedSystem(
        "cats vs dogs",
        "stack: EfficientNet-Lite0, logistic regression",
        "",
        "cats_dogs",
        "test",
        "run cats_dogs",
        "not in the post",
    ),
    PublishedSystem(
        "cats vs dogs",
        "stack: the shipped InceptionV3, logistic regression",
        "",
        "cats_dogs_stacked",
        "test",
        "run cats_dogs_stacked",
        "not in the post",
    ),
    PublishedSystem(
        "cats vs dogs",
        "stack: the extractor fine-tuned",
        "",
        "cats_dogs_finetuned",
        "test",
        "run cats_dogs_finetuned",
        "not in the post",
    ),
    PublishedSystem(
        "kangaroo vs wallaby",
        "VGG19, partly unfrozen, 224 px",
        ".8509 (baseline .560)",
        "kangaroo_wallaby_vgg19",
        "test",
        "run kangaroo_wallaby_vgg19",
        "the post had ImageNet weights and 3,043 training images; here 465, and random weights",
    ),
    PublishedSystem(
        "kangaroo vs wallaby",
        "stack: EfficientNet-Lite0, logistic regression",
        "",
        "kangaroo_wallaby",
        "test",
        "run kangaroo_wallaby",
        "not in the post",
    ),
    PublishedSystem(
        "kangaroo vs wallaby",
        "stack: the shipped InceptionV3, logistic regression",
        "",
        "kangaroo_wallaby_stacked",
        "test",
        "run kangaroo_wallaby_stacked",
        "not in the post",
    ),
    PublishedSystem(
        "kangaroo vs wallaby",
        "stack: the extractor fine-tuned",
        "",
        "kangaroo_wallaby_finetuned",
        "test",
        "run kangaroo_wallaby_finetuned",
        "not in the post",
    ),
)


def read_table(store: Store, comparison: Path) -> list[TableRow]:
    """Read our metrics for every system.

    Args:
        store: model store; the newest version of each classifier counts.
        comparison: comparison.json as written by `compare cifar10`; it may be missing.

    Raises:
        CorruptArtifact: a manifest of the store cannot be read.
        TrainingError: the comparison cannot be read.
    """
    heads = dict(_read_heads(comparison))
    return [TableRow(system, heads.get(system.source) or _read_classifier(system, store)) for system in SYSTEMS]


def as_markdown(rows: list[TableRow]) -> str:
    """Format the rows as a Markdown table: accuracies with their 95 % intervals, log losses and baselines."""
    heading = "| task | system | the post | here (95 %) | log loss | baseline | measured on | why it differs |"
    return "\n".join([heading, "|---|---|---|---|---|---|---|---|", *(_format_row(row) for row in rows)]) + "\n"


def print_table(
    comparison: Annotated[Path, typer.Option(help="Output of `python -m training compare cifar10`.")] = Path(
        "runs/compare/comparison.json"
    ),
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Print the published metrics of the three blog posts (docs/training.md) beside ours, as a Markdown table.

    Nothing is measured.
    """
    typer.echo(as_markdown(read_table(Store(store), comparison)), nl=False)


def _read_heads(comparison: Path) -> Iterator[tuple[str, Metrics]]:
    if not comparison.is_file():
        return
    try:
        heads = HeadComparison.model_validate_json(comparison.read_bytes()).heads
    except ValueError as error:
        raise TrainingError(
            f"{comparison} is not a comparison of heads. Create it again: python -m training {_COMPARE}"
        ) from error
    for head in heads:
        if head.test:
            yield head.kind, head.test


def _read_classifier(system: PublishedSystem, store: Store) -> Metrics | None:
    try:
        return store.classifier(system.source).manifest.metrics.get(system.measured_on)
    except ModelNotFound:
        return None


def _format_row(row: TableRow) -> str:
    system, metrics = row.system, row.metrics
    if metrics is None:
        cells = [f"not measured: `python -m training {system.command}`", "", "", ""]
    else:
        low, high = metrics.accuracy_interval
        baseline = "" if metrics.most_frequent is None else _format_share(metrics.most_frequent)
        cells = [
            f"**{_format_share(metrics.accuracy)}** ({_format_share(low)} to {_format_share(high)})",
            _format_share(metrics.log_loss),
            baseline,
            f"{metrics.images:,} images",
        ]
    return f"| {' | '.join([system.task, system.name, system.post or '–', *cells, system.reason])} |"


def _format_share(value: float) -> str:
    return f"{value:.4f}".removeprefix("0")
