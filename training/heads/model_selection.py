"""Chooses extractor, preprocessing and head for a dataset, by cross-validation on its training images only."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from models.arrays import Floats, Integers
from models.console.progress import Advance, Track, silent
from models.heads import Head, apply_temperature
from models.manifests import Metrics
from models.preprocess import PreprocessSpec, default_decode_margin
from training.estimators.boosted_trees import XGBoost
from training.estimators.kinds import FittedHead
from training.estimators.linear import Logistic, Ridge
from training.evaluation import metrics
from training.heads.cross_validation import out_of_fold_probabilities

FOLDS = 5

#: Extractor and preprocessing are chosen with this head. The other heads are then tried on what was chosen.
#: Of ten images of each class, ridge regression learns more than logistic regression: on EfficientNet-Lite0, 97 instead
#: of 95 % of cats and dogs are correct, and 90 instead of 83 % of kangaroos and wallabies.
_FIRST_HEAD: FittedHead = Ridge(alpha=300)
_OTHER_HEADS: tuple[FittedHead, ...] = (Ridge(alpha=30), Logistic(C=0.001), Logistic(C=0.01), Logistic(C=0.1))
#: Averaging with mirror images doubles the cost of a prediction, so it has to reduce the log loss at least to this
#: share of the loss without it.
MAX_MIRROR_LOSS_RATIO = 0.98
_STANDARD_ERRORS = 2
#: Largest product of images and classes for which boosted trees are tried; above it they take minutes.
_MAX_IMAGES_TIMES_CLASSES_FOR_TREES = 8_000

#: name of an extractor, spec -> features of the training images, float32 [images, width]
ExtractFunction = Callable[[str, PreprocessSpec], Floats]


_Trial = tuple[str, PreprocessSpec, FittedHead]


@dataclass(frozen=True)
class Candidate:
    """A head on one extractor and one kind of preprocessing, and its cross-validated metrics.

    Attributes:
        extractor: name.
        temperature: fitted on all out-of-fold predictions.
        metrics: of the same predictions with that temperature. One number fitted on all of them makes the metrics
            hardly optimistic.
        losses: log loss of each image, [images].
    """

    extractor: str
    preprocess: PreprocessSpec
    head: FittedHead
    temperature: float
    metrics: Metrics
    losses: npt.NDArray[np.float64] = field(repr=False, compare=False)

    @property
    def log_loss(self) -> float:
        """The measure by which candidates are chosen."""
        return self.metrics.log_loss

    def is_clearly_better_than(self, other: Candidate) -> bool:
        """Return whether the log loss is lower by more than two standard errors of its difference over the same images.

        The lowest of several log losses is often so by chance: with ten images of each class, it shrank photographs to
        a third of the network's input. Breiman et al., 1984, have such a rule, of one standard error.
        """
        gains = other.losses - self.losses
        return bool(gains.mean() > _STANDARD_ERRORS * gains.std(ddof=1) / math.sqrt(len(gains)))


def candidate_specs(spec: PreprocessSpec) -> tuple[PreprocessSpec, ...]:
    """Return the spec with three source sides: the network's input size, and two and one thirds of it."""
    return tuple(_with_source(spec, spec.size * thirds // 3) for thirds in (3, 2, 1))


def candidate_heads(images: int, classes: int) -> tuple[FittedHead, ...]:
    """Return the heads to try in addition to the first one, for a number of training images and classes."""
    return (*_OTHER_HEADS, XGBoost()) if images * classes <= _MAX_IMAGES_TIMES_CLASSES_FOR_TREES else _OTHER_HEADS


def select_model(
    extract: ExtractFunction,
    specs: Mapping[str, PreprocessSpec],
    labels: Integers,
    groups: Integers,
    classes: Sequence[str],
    seed: int,
    track: Track = silent,
) -> tuple[Candidate, dict[str, Any]]:
    """Choose a candidate by its cross-validated log loss.

    First the extractor with the lowest loss is chosen, with the whole input size as the source side. Then the source
    side, averaging with mirror images and the head are chosen in turn. Each stays as it is unless another choice is
    clearly better.

    Args:
        extract: computes the features of the training images, float32 [images, width].
        specs: name of each extractor -> its preprocessing, whose source side and mirroring are varied.
        labels: [images].
        groups: [images], near duplicates, which stay in one fold.
        classes: names.
        seed: random seed of the folds and the fits.
        track: shows progress.

    Returns:
        The candidate, and a record of all candidates for the manifest.
    """
    search = _Search(extract, labels, groups, classes, seed, track)
    full_size = {name: candidate_specs(spec)[0] for name, spec in specs.items()}
    on_extractors = search.cross_validate("the extractor", [(*each, _FIRST_HEAD) for each in full_size.items()])
    best_extractor = min(on_extractors, key=_log_loss)
    name = best_extractor.extractor
    smaller = [(name, spec, _FIRST_HEAD) for spec in candidate_specs(specs[name])[1:]]
    best = _choose(best_extractor, search.cross_validate("the image size", smaller))
    mirrored = best.preprocess.model_copy(update={"mirror": True})
    (with_mirror,) = search.cross_validate("mirroring", [(name, mirrored, _FIRST_HEAD)])
    if with_mirror.log_loss <= MAX_MIRROR_LOSS_RATIO * best.log_loss:
        best = _choose(best, [with_mirror])
    heads = candidate_heads(len(labels), len(classes))
    best = _choose(best, search.cross_validate("the head", [(name, best.preprocess, head) for head in heads]))
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
    features: dict[tuple[str, PreprocessSpec], Floats] = field(default_factory=dict)

    def cross_validate(self, choice: str, trials: Sequence[_Trial]) -> list[Candidate]:
        """Return a candidate for each extractor, preprocessing and head; the progress bar shows what is chosen."""
        for extractor, spec, _ in trials:
            if (extractor, spec) not in self.features:
                self.features[extractor, spec] = self.extract(extractor, spec)
        with self.track(f"choosing {choice}", FOLDS * len(trials), "fits") as advance:
            tried = [self._measure(*trial, advance) for trial in trials]
        self.candidates.extend(tried)
        return tried

    def _measure(self, extractor: str, spec: PreprocessSpec, head: FittedHead, advance: Advance) -> Candidate:
        features = self.features[extractor, spec]
        raw = out_of_fold_probabilities(
            head, features, self.labels, self.groups, folds=FOLDS, seed=self.seed, advance=advance
        )
        temperature = metrics.fit_temperature(raw, self.labels)
        calibrated = apply_temperature(raw, temperature)
        measured = metrics.measure(calibrated, self.labels, self.classes)
        losses = metrics.log_losses(calibrated, self.labels)
        return Candidate(extractor, spec, head, temperature, measured, losses)

    def record(self, best: Candidate) -> dict[str, Any]:
        """Return all candidates as a manifest stores them, and why that of the lowest loss was not chosen."""
        trials = [_describe(candidate) for candidate in self.candidates]
        record: dict[str, Any] = {"folds": FOLDS, "best": self.candidates.index(best), "trials": trials}
        if best.log_loss > min(map(_log_loss, self.candidates)):
            record["reason"] = (
                f"a difference within {_STANDARD_ERRORS} standard errors may be chance, and the average with mirror "
                "images doubles the cost of a prediction, so it has to lower the log loss of the first head by "
                f"{1 - MAX_MIRROR_LOSS_RATIO:.0%}"
            )
        return record


def _with_source(spec: PreprocessSpec, source: int) -> PreprocessSpec:
    return spec.model_copy(update={"source": source, "decode_margin": default_decode_margin(source)})


def _choose(current: Candidate, others: Sequence[Candidate]) -> Candidate:
    """Return the candidate of the lowest log loss among those that are clearly better than the current one."""
    return min((each for each in others if each.is_clearly_better_than(current)), key=_log_loss, default=current)


def _log_loss(candidate: Candidate) -> float:
    return candidate.log_loss


def _describe(candidate: Candidate) -> dict[str, Any]:
    parameters = candidate.head.model_dump(mode="json", exclude={"kind", "max_iter"})
    return {
        "parameters": {
            "extractor": candidate.extractor,
            "source": candidate.preprocess.source_side,
            "mirror": candidate.preprocess.mirror,
            "head": candidate.head.kind,
            **parameters,
        },
        "log_loss": candidate.metrics.log_loss,
        "accuracy": candidate.metrics.accuracy,
    }
