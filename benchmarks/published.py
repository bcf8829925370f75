"""The figures of the blog posts that this project grew out of, beside what was measured here.

Nothing is measured by this: it reads what `compare` and `run` have written, and names the command for what is missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from models.artifacts.store import Store
from models.errors import ModelNotFound
from models.manifests import Metrics
from training.errors import TrainingError
from training.heads.comparison import Comparison


@dataclass(frozen=True)
class System:
    """A system of a post, or one made here for the same task.

    Attributes:
        task: what it tells apart.
        name: of the system.
        post: what the post measured; empty where it has no such system.
        source: of what was measured here: a kind of head in the comparison on CIFAR-10, or a classifier of the store.
        measured_on: the name of the labelled set; of a comparison always the test set.
        command: that measures it.
        why: why the figures differ.
    """

    task: str
    name: str
    post: str
    source: str
    measured_on: str
    command: str
    why: str


@dataclass(frozen=True)
class Line:
    """A system, and what was measured of it, if anything was."""

    system: System
    measured: Metrics | None


_COMPARE = "compare cifar10"
_KNOWS_CIFAR = (
    "the post's network knew ImageNet alone, at 299 px, and gave 1,001 probabilities; ours is at 96 px, "
    "was fitted on CIFAR-10's training images too, and gives 2,048 features. Images here are JPEG, which loses detail"
)

SYSTEMS = (
    System("CIFAR-10", "ridge, alpha 1e-5", ".7357", "ridge", "test", _COMPARE, _KNOWS_CIFAR),
    System("CIFAR-10", "dense 2048-512-64", ".7977", "dense", "test", _COMPARE, "as above"),
    System("CIFAR-10", "XGBoost, 100 trees of depth 4", ".8176", "xgboost", "test", _COMPARE, "as above"),
    System("CIFAR-10", "logistic regression", "", "logistic", "test", _COMPARE, "not in the post"),
    System(
        "cats vs dogs",
        "small CNN from nothing, 150 px",
        ".894 (log loss .261)",
        "cats_dogs_cnn",
        "valid",
        "run cats_dogs_cnn",
        "2,000 training photographs, of which it fits 1,900; the post had 20,000",
    ),
    System(
        "cats vs dogs",
        "stack: the shipped extractor, logistic regression",
        "",
        "cats_dogs",
        "test",
        "run cats_dogs_stacked",
        "not in the post",
    ),
    System(
        "cats vs dogs",
        "stack: the extractor fine-tuned",
        "",
        "cats_dogs_finetuned",
        "test",
        "run cats_dogs_finetuned",
        "not in the post",
    ),
    System(
        "kangaroo vs wallaby",
        "VGG19, partly unfrozen, 224 px",
        ".8509 (baseline .560)",
        "kangaroo_wallaby_vgg19",
        "test",
        "run kangaroo_wallaby_vgg19",
        "the post had ImageNet's weights and 3,043 training photographs; here there are 465, and random weights",
    ),
    System(
        "kangaroo vs wallaby",
        "stack: the shipped extractor, logistic regression",
        "",
        "kangaroo_wallaby",
        "test",
        "run kangaroo_wallaby_stacked",
        "not in the post",
    ),
    System(
        "kangaroo vs wallaby",
        "stack: the extractor fine-tuned",
        "",
        "kangaroo_wallaby_finetuned",
        "test",
        "run kangaroo_wallaby_finetuned",
        "not in the post",
    ),
)


def lines(store: Store, comparison: Path) -> list[Line]:
    """Every system with its figures.

    Args:
        store: where classifiers lie; the newest version of each counts.
        comparison: comparison.json as `compare cifar10` writes it; it need not be there.

    Raises:
        CorruptArtifact: a manifest of the store cannot be read.
        TrainingError: the comparison cannot be read.
    """
    heads = dict(_heads(comparison))
    return [Line(system, heads.get(system.source) or _of_classifier(system, store)) for system in SYSTEMS]


def as_markdown(found: list[Line]) -> str:
    """The table as a document has it: accuracies with their 95 % intervals, log losses, baselines."""
    heading = "| task | system | the post | here (95 %) | log loss | baseline | measured on | why it differs |"
    rows = [heading, "|---|---|---|---|---|---|---|---|", *(_row(line) for line in found)]
    return "\n".join(rows) + "\n"


def _heads(comparison: Path) -> Iterator[tuple[str, Metrics]]:
    if not comparison.is_file():
        return
    try:
        compared = Comparison.model_validate_json(comparison.read_bytes())
    except ValueError as error:
        raise TrainingError(
            f"{comparison} is no comparison of heads. Make it again: python -m training {_COMPARE}"
        ) from error
    for head in compared.heads:
        if head.test:
            yield head.kind, head.test


def _of_classifier(system: System, store: Store) -> Metrics | None:
    try:
        return store.classifier(system.source).manifest.metrics.get(system.measured_on)
    except ModelNotFound:
        return None


def _row(line: Line) -> str:
    system, found = line.system, line.measured
    if found is None:
        figures = [f"not measured: `python -m training {system.command}`", "", "", ""]
    else:
        low, high = found.accuracy_interval
        baseline = "" if found.most_frequent is None else _share(found.most_frequent)
        figures = [
            f"**{_share(found.accuracy)}** ({_share(low)} to {_share(high)})",
            _share(found.log_loss),
            baseline,
            f"{found.images:,} images",
        ]
    return f"| {' | '.join([system.task, system.name, system.post or '–', *figures, system.why])} |"


def _share(value: float) -> str:
    return f"{value:.4f}".removeprefix("0")
