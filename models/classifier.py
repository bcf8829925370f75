"""From bytes to probabilities: what the server, the command line and the evaluation all call.

    prepare(bytes, specs) -> pixels, one for each distinct spec          (a thread for each image)
    classify(engine, rows) -> probabilities                              (one call for each batch)

An extractor runs once over the batch, whoever asked; then each head runs once over the rows that it reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from models.engines import Engine
from models.errors import HeadFailed
from models.heads import Floats, Head
from models.image import DEFAULT_LIMITS, Limits, Pixels, decode
from models.manifests import ClassifierManifest, ExtractorManifest
from models.preprocess import PreprocessSpec, preprocess


@dataclass(frozen=True, eq=False)
class Extractor:
    """A network that is ready to run."""

    manifest: ExtractorManifest
    engine: Engine


@dataclass(frozen=True, eq=False)
class Classifier:
    """A head that is ready to answer, with all that is known of it."""

    manifest: ClassifierManifest
    extractor: Extractor
    head: Head
    card: str

    @property
    def name(self) -> str:
        """Its name in the store and in the API."""
        return self.manifest.name

    @property
    def version(self) -> int:
        """Its version in the store."""
        return self.manifest.version

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the probabilities."""
        return self.manifest.classes

    @property
    def spec(self) -> PreprocessSpec:
        """The preprocessing that its head was fitted with."""
        return self.manifest.preprocess

    def top(self, probabilities: Floats, k: int, threshold: float = 0.0) -> list[tuple[str, int, float]]:
        """The (label, index, probability) of up to `k` likeliest classes at or above `threshold`, descending."""
        order = np.argsort(-probabilities, kind="stable")[:k]
        found = [(self.classes[i], int(i), float(probabilities[i])) for i in order]
        return [(label, index, score) for label, index, score in found if score >= threshold]


@dataclass(frozen=True, eq=False)
class Row:
    """One image at one preprocess spec, and the classifiers of one extractor that read it."""

    pixels: Pixels
    classifiers: tuple[Classifier, ...]


def prepare(
    data: bytes, specs: Iterable[PreprocessSpec], limits: Limits = DEFAULT_LIMITS
) -> dict[PreprocessSpec, Pixels]:
    """Decode an image once and preprocess it once for each distinct spec.

    Returns:
        spec -> uint8 [size, size, 3].

    Raises:
        ImageError: the image cannot be taken; see `models.errors`.
    """
    distinct = set(specs)
    sides = [spec.needed_side for spec in distinct if spec.needed_side is not None]
    rgb = decode(data, limits, max(sides) if len(sides) == len(distinct) else None)
    return {spec: preprocess(rgb, spec) for spec in distinct}


def classify(engine: Engine, rows: Sequence[Row]) -> list[tuple[Floats, ...]]:
    """Run the extractor once over all rows, and each head once over the rows that it reads.

    Returns:
        for each row, the probabilities [classes] of each of its classifiers, in their order.

    Raises:
        HeadFailed: a head raised; the cause is chained.
    """
    return [tuple(known(answer) for answer in answers) for answers in classify_each(engine, rows)]


def known(answer: Floats | HeadFailed) -> Floats:
    """The probabilities, where there are some; raises HeadFailed."""
    if isinstance(answer, HeadFailed):
        raise answer
    return answer


def classify_each(engine: Engine, rows: Sequence[Row]) -> list[tuple[Floats | HeadFailed, ...]]:
    """The same for rows of several callers: a head that raises fails its own answers and nobody else's."""
    outputs = engine.run(np.stack([row.pixels for row in rows]))
    readers: dict[Classifier, list[int]] = {}
    for index, row in enumerate(rows):
        for classifier in row.classifiers:
            readers.setdefault(classifier, []).append(index)
    answers: dict[tuple[Classifier, int], Floats | HeadFailed] = {}
    for classifier, indices in readers.items():
        found = _ask_head(classifier, outputs[classifier.manifest.extractor.output][indices])
        answers |= {(classifier, index): answer for index, answer in zip(indices, found, strict=True)}
    return [tuple(answers[classifier, index] for classifier in row.classifiers) for index, row in enumerate(rows)]


def _ask_head(classifier: Classifier, features: Floats) -> Sequence[Floats | HeadFailed]:
    try:
        return list(classifier.head.predict_proba(features))
    except Exception as error:
        failure = HeadFailed(f"The head of {classifier.name}@{classifier.version} failed.")
        failure.__cause__ = error
        return [failure] * len(features)
