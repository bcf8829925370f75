"""The head and the preprocessing that suit a dataset, chosen by cross-validation on its training images alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from models.console.progress import Track, silent
from models.heads import Floats, Head, Integers, apply_temperature
from models.manifests import Metrics
from models.preprocess import PreprocessSpec
from training.estimators.heads import FittedHead, Logistic, Ridge, XGBoost
from training.evaluation import metrics
from training.heads.cross_validation import out_of_fold

FOLDS = 5

#: By the first of them the preprocessing is chosen, then the others have their turn on it.
_FIRST: FittedHead = Logistic(C=0.001)
_OTHERS: tuple[FittedHead, ...] = (Logistic(C=0.0001), Logistic(C=0.01), Ridge(alpha=30), Ridge(alpha=300))
#: Each answer costs twice as much where mirror images are averaged: so much of the log loss may be left at most.
MIRROR_BRINGS = 0.98
#: Trees take minutes where there are more images times classes than this.
_TREES_UP_TO = 8_000

#: spec -> features of the training images, float32 [images, width]
Extract = Callable[[PreprocessSpec], Floats]


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


def select_model(
    extract: Extract,
    spec: PreprocessSpec,
    labels: Integers,
    groups: Integers,
    classes: Sequence[str],
    seed: int,
    track: Track = silent,
) -> tuple[Candidate, dict[str, Any]]:
    """The candidate with the least cross-validated log loss, and a record of all for the manifest.

    First how large pictures are made; then whether they are averaged with their mirror images, which costs twice the
    work for each answer and so has to bring something; then the head.

    Args:
        extract: features of the training images for a spec, float32 [images, width].
        spec: of which sides and mirror images are varied.
        labels: [images].
        groups: [images], near duplicates, which are never on both sides of a fold.
        classes: names.
        seed: of folds and fits.
        track: shows progress.
    """
    candidates: list[Candidate] = []

    def consider(what: str, trials: Sequence[tuple[PreprocessSpec, FittedHead]]) -> None:
        with track(f"choosing {what}", FOLDS * len(trials), "fits") as advance:
            for each, head in trials:
                raw = out_of_fold(head, rows[each], labels, groups, folds=FOLDS, seed=seed, advance=advance)
                temperature = metrics.fit_temperature(raw, labels)
                measured = metrics.measure(apply_temperature(raw, temperature), labels, classes)
                candidates.append(Candidate(each, head, temperature, measured))

    rows = {each: extract(each) for each in specs(spec)}
    consider("a size", [(each, _FIRST) for each in rows])
    plain = min(candidates, key=_log_loss)
    mirrored = plain.spec.model_copy(update={"mirror": True})
    rows[mirrored] = extract(mirrored)
    consider("whether to mirror", [(mirrored, _FIRST)])
    brings_something = _log_loss(candidates[-1]) <= MIRROR_BRINGS * _log_loss(plain)
    suited = mirrored if brings_something else plain.spec
    consider("a head", [(suited, head) for head in heads(len(labels), len(classes))])
    best = min((each for each in candidates if each.spec.mirror == brings_something), key=_log_loss)
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
        "parameters": {
            "source": candidate.spec.source_side,
            "mirror": candidate.spec.mirror,
            "head": candidate.head.kind,
            **parameters,
        },
        "log_loss": candidate.measured.log_loss,
        "accuracy": candidate.measured.accuracy,
    }
