"""Chooses the head and the preprocessing for a dataset, by cross-validation on its training images only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from models.arrays import Floats, Integers
from models.console.progress import Track, silent
from models.heads import Head, apply_temperature
from models.manifests import Metrics
from models.preprocess import PreprocessSpec, default_decode_margin
from training.estimators.boosted_trees import XGBoost
from training.estimators.kinds import FittedHead
from training.estimators.linear import Logistic, Ridge
from training.evaluation import metrics
from training.heads.cross_validation import out_of_fold_probabilities

FOLDS = 5

#: The preprocessing is chosen with this head. The other heads are then tried on the chosen preprocessing.
_FIRST_HEAD: FittedHead = Logistic(C=0.001)
_OTHER_HEADS: tuple[FittedHead, ...] = (Logistic(C=0.0001), Logistic(C=0.01), Ridge(alpha=30), Ridge(alpha=300))
#: Averaging with mirror images doubles the cost of a prediction, so it has to reduce the log loss at least to this
#: share of the loss without it.
MAX_MIRROR_LOSS_RATIO = 0.98
#: Largest product of images and classes for which boosted trees are tried; above it they take minutes.
_MAX_IMAGES_TIMES_CLASSES_FOR_TREES = 8_000

#: spec -> features of the training images, float32 [images, width]
ExtractFunction = Callable[[PreprocessSpec], Floats]


@dataclass(frozen=True)
class Candidate:
    """A head on one kind of preprocessing, and its cross-validated metrics.

    Attributes:
        temperature: fitted on all out-of-fold predictions.
        metrics: of the same predictions with that temperature. One number fitted on all of them makes the metrics
            hardly optimistic.
    """

    preprocess: PreprocessSpec
    head: FittedHead
    temperature: float
    metrics: Metrics

    @property
    def log_loss(self) -> float:
        """The measure by which candidates are chosen."""
        return self.metrics.log_loss


def candidate_specs(spec: PreprocessSpec) -> tuple[PreprocessSpec, ...]:
    """Return the spec with three source sides: the network's input size, and two and one thirds of it."""
    sources = [spec.size * thirds // 3 for thirds in (3, 2, 1)]
    return tuple(
        spec.model_copy(update={"source": source, "decode_margin": default_decode_margin(source)}) for source in sources
    )


def candidate_heads(images: int, classes: int) -> tuple[FittedHead, ...]:
    """Return the heads to try in addition to the first one, for a number of training images and classes."""
    return (*_OTHER_HEADS, XGBoost()) if images * classes <= _MAX_IMAGES_TIMES_CLASSES_FOR_TREES else _OTHER_HEADS


def select_model(
    extract: ExtractFunction,
    spec: PreprocessSpec,
    labels: Integers,
    groups: Integers,
    classes: Sequence[str],
    seed: int,
    track: Track = silent,
) -> tuple[Candidate, dict[str, Any]]:
    """Choose the candidate with the lowest cross-validated log loss.

    First the source side is chosen, then whether to average with mirror images, then the head.

    Args:
        extract: computes the features of the training images for a spec, float32 [images, width].
        spec: its source side and mirroring are varied.
        labels: [images].
        groups: [images], near duplicates, which stay in one fold.
        classes: names.
        seed: random seed of the folds and the fits.
        track: shows progress.

    Returns:
        The candidate, and a record of all candidates for the manifest.
    """
    search = _Search(extract, labels, groups, classes, seed, track)
    without_mirror = min(
        search.cross_validate("the image size", [(candidate, _FIRST_HEAD) for candidate in candidate_specs(spec)]),
        key=_log_loss,
    )
    mirrored = without_mirror.preprocess.model_copy(update={"mirror": True})
    (with_mirror,) = search.cross_validate("mirroring", [(mirrored, _FIRST_HEAD)])
    mirror = with_mirror.log_loss <= MAX_MIRROR_LOSS_RATIO * without_mirror.log_loss
    chosen_spec = mirrored if mirror else without_mirror.preprocess
    search.cross_validate("the head", [(chosen_spec, head) for head in candidate_heads(len(labels), len(classes))])
    best = min((candidate for candidate in search.candidates if candidate.preprocess.mirror == mirror), key=_log_loss)
    return best, search.record(best)


def fit_candidate(candidate: Candidate, features: Floats, labels: Integers, seed: int) -> Head:
    """Return the candidate's head, fitted on all training images, with its temperature."""
    return Head(candidate.head.fit(features, labels, seed), candidate.temperature)


@dataclass(frozen=True)
class _Search:
    """Cross-validates candidates on the same images and keeps them."""

    extract: ExtractFunction
    labels: Integers
    groups: Integers
    classes: Sequence[str]
    seed: int
    track: Track
    candidates: list[Candidate] = field(default_factory=list)
    features: dict[PreprocessSpec, Floats] = field(default_factory=dict)

    def cross_validate(self, choice: str, trials: Sequence[tuple[PreprocessSpec, FittedHead]]) -> list[Candidate]:
        """Return a candidate for each preprocessing and head; the progress bar shows what is chosen."""
        for spec, _ in trials:
            if spec not in self.features:
                self.features[spec] = self.extract(spec)
        tried = []
        with self.track(f"choosing {choice}", FOLDS * len(trials), "fits") as advance:
            for spec, head in trials:
                raw = out_of_fold_probabilities(
                    head, self.features[spec], self.labels, self.groups, folds=FOLDS, seed=self.seed, advance=advance
                )
                temperature = metrics.fit_temperature(raw, self.labels)
                measured = metrics.measure(apply_temperature(raw, temperature), self.labels, self.classes)
                tried.append(Candidate(spec, head, temperature, measured))
        self.candidates.extend(tried)
        return tried

    def record(self, best: Candidate) -> dict[str, Any]:
        """Return all candidates as a manifest stores them, and why that of the lowest loss was not chosen."""
        trials = [_describe(candidate) for candidate in self.candidates]
        record: dict[str, Any] = {"folds": FOLDS, "best": self.candidates.index(best), "trials": trials}
        if best.log_loss > min(map(_log_loss, self.candidates)):
            record["reason"] = (
                "the average with mirror images doubles the cost of a prediction, so it has to lower the log loss "
                f"of the first head by {1 - MAX_MIRROR_LOSS_RATIO:.0%}"
            )
        return record


def _log_loss(candidate: Candidate) -> float:
    return candidate.log_loss


def _describe(candidate: Candidate) -> dict[str, Any]:
    parameters = candidate.head.model_dump(mode="json", exclude={"kind", "max_iter"})
    return {
        "parameters": {
            "source": candidate.preprocess.source_side,
            "mirror": candidate.preprocess.mirror,
            "head": candidate.head.kind,
            **parameters,
        },
        "log_loss": candidate.metrics.log_loss,
        "accuracy": candidate.metrics.accuracy,
    }
