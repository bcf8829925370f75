"""The head and the preprocessing that suit a dataset, chosen by cross-validation on its training images alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models.heads import Floats, Head, Integers, apply_temperature
from models.manifests import Metrics
from models.preprocess import PreprocessSpec
from models.progress import Advance, ignore
from training import metrics
from training.heads import FittedHead, Logistic, Ridge, XGBoost
from training.validation import out_of_fold

FOLDS = 5

#: By the first of them the preprocessing is chosen, then the others have their turn on it.
_FIRST: FittedHead = Logistic(C=0.001)
_OTHERS: tuple[FittedHead, ...] = (Logistic(C=0.0001), Logistic(C=0.01), Ridge(alpha=30), Ridge(alpha=300))
#: Trees take minutes where there are more images times classes than this.
_TREES_UP_TO = 8_000


@dataclass(frozen=True)
class Candidate:
    """A head on images prepared in one way, and what it is worth on images that it has not seen.

    Attributes:
        temperature: fitted on all answers out of their folds.
        measured: the same answers with that temperature; one number fitted on them all flatters it next to nothing.
    """

    spec: PreprocessSpec
    head: FittedHead
    temperature: float
    measured: Metrics


def specs(spec: PreprocessSpec) -> tuple[PreprocessSpec, ...]:
    """The spec at three source sides: all of the network's input, two thirds of it, and a third."""
    return tuple(spec.model_copy(update={"source": spec.size * thirds // 3}) for thirds in (3, 2, 1))


def heads(images: int, classes: int) -> tuple[FittedHead, ...]:
    """What is tried beside the first, for so many training images and classes."""
    return (*_OTHERS, XGBoost()) if images * classes <= _TREES_UP_TO else _OTHERS


def choose(
    features: Mapping[PreprocessSpec, Floats],
    labels: Integers,
    groups: Integers,
    classes: Sequence[str],
    seed: int,
    advance: Advance = ignore,
) -> tuple[Candidate, dict[str, Any]]:
    """The candidate with the least cross-validated log loss, and a record of all for the manifest.

    Args:
        features: of the training images for each spec to choose from, float32 [images, width].
        labels: [images].
        groups: [images], near duplicates, which are never on both sides of a fold.
        classes: names.
        seed: of folds and fits.
        advance: is told of fits done: `FOLDS` for each spec, and for each of `heads`.
    """

    def candidate(spec: PreprocessSpec, head: FittedHead, rows: Floats) -> Candidate:
        raw = out_of_fold(head, rows, labels, groups, folds=FOLDS, seed=seed, advance=advance)
        temperature = metrics.fit_temperature(raw, labels)
        return Candidate(spec, head, temperature, metrics.measure(apply_temperature(raw, temperature), labels, classes))

    candidates = [candidate(spec, _FIRST, rows) for spec, rows in features.items()]
    spec = min(candidates, key=_log_loss).spec
    candidates += [candidate(spec, head, features[spec]) for head in heads(len(labels), len(classes))]
    best = min(candidates, key=_log_loss)
    record = {"folds": FOLDS, "best": candidates.index(best), "trials": [_trial(each) for each in candidates]}
    return best, record


def fitted(chosen: Candidate, rows: Floats, labels: Integers, seed: int) -> Head:
    """The chosen head, fitted on all training images."""
    return Head(chosen.head.fit(rows, labels, seed), chosen.temperature)


def _log_loss(candidate: Candidate) -> float:
    return candidate.measured.log_loss


def _trial(candidate: Candidate) -> dict[str, Any]:
    parameters = candidate.head.model_dump(mode="json", exclude={"kind", "max_iter"})
    return {
        "parameters": {"source": candidate.spec.source_side, "head": candidate.head.kind, **parameters},
        "log_loss": candidate.measured.log_loss,
        "accuracy": candidate.measured.accuracy,
    }
