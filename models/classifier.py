"""From bytes to probabilities: what the server, the command line and the evaluation all call.

    models.preprocess.prepare(bytes, specs) -> pixels, one for each distinct spec     (a process for each image)
    classify(engine, rows) -> probabilities                                           (one call for each batch)

An extractor runs once over the batch, whoever asked; then each head runs once over the rows that it reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from models.arrays import Pixels
from models.engines.base import Engine, Runner
from models.errors import HeadFailed
from models.heads import Floats, Head
from models.manifests import ClassifierManifest, ExtractorManifest
from models.mirroring import run_with_mirroring
from models.networks import POOLED
from models.preprocess import PreprocessSpec


@dataclass(frozen=True, eq=False)
class Extractor:
    """A network that is ready to run."""

    manifest: ExtractorManifest
    engine: Engine


class OutputConsumer(Protocol):
    """Something that reads one output of an extractor, for images that were preprocessed in one way."""

    @property
    def label(self) -> str:
        """What it is called in errors."""

    @property
    def extractor(self) -> Extractor:
        """Whose output it reads."""

    @property
    def spec(self) -> PreprocessSpec:
        """How its images are preprocessed."""

    @property
    def output(self) -> str:
        """Name of the output."""

    def consume(self, features: Floats) -> Floats:
        """float32 [images, width of the output] -> float32 [images, its own width]."""


@dataclass(frozen=True)
class Embedding:
    """The features themselves, as another model may want them."""

    extractor: Extractor
    spec: PreprocessSpec
    output: str = POOLED

    @property
    def label(self) -> str:
        """Name and version of the extractor."""
        return f"{self.extractor.manifest.name}@{self.extractor.manifest.version}"

    def consume(self, features: Floats) -> Floats:
        """The same again."""
        return features


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
    def label(self) -> str:
        """`name@version`."""
        return f"{self.name}@{self.version}"

    @property
    def output(self) -> str:
        """The extractor's output that its head reads."""
        return self.manifest.extractor.output

    def consume(self, features: Floats) -> Floats:
        """float32 [images, features] -> float32 [images, classes], probabilities."""
        return self.head.predict_proba(features)

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
        order = (-probabilities).argsort(kind="stable")[:k]
        found = zip(order.tolist(), probabilities[order].tolist(), strict=True)
        return [(self.classes[index], index, score) for index, score in found if score >= threshold]


@dataclass(frozen=True, eq=False)
class BatchItem:
    """One image at one preprocess spec, and those who read what one extractor makes of it."""

    pixels: Pixels
    consumers: tuple[OutputConsumer, ...]

    @property
    def mirror(self) -> bool:
        """Whether its readers want it averaged with its mirror image."""
        return any(reader.spec.mirror for reader in self.consumers)


def classify(engine: Runner, rows: Sequence[BatchItem]) -> list[tuple[Floats, ...]]:
    """Run the extractor once over all rows, and each head once over the rows that it reads.

    Returns:
        for each row, the answer of each of its readers, in their order: of a classifier, probabilities [classes].

    Raises:
        HeadFailed: a head raised; the cause is chained.
    """
    return [tuple(unwrap_output(answer) for answer in answers) for answers in classify_each(engine, rows)]


def unwrap_output(answer: Floats | HeadFailed) -> Floats:
    """The probabilities, where there are some; raises HeadFailed."""
    if isinstance(answer, HeadFailed):
        raise answer
    return answer


def classify_each(engine: Runner, rows: Sequence[BatchItem]) -> list[tuple[Floats | HeadFailed, ...]]:
    """The same for rows of several callers: a head that raises fails its own answers and nobody else's."""
    mirrored = np.flatnonzero([row.mirror for row in rows])
    found = run_with_mirroring(engine, np.stack([row.pixels for row in rows]), mirrored)
    rows_of: dict[OutputConsumer, list[int]] = {}
    for index, row in enumerate(rows):
        for reader in row.consumers:
            rows_of.setdefault(reader, []).append(index)
    answers: dict[tuple[OutputConsumer, int], Floats | HeadFailed] = {}
    for reader, indices in rows_of.items():
        told = _ask(reader, found[reader.output][indices])
        answers |= {(reader, index): answer for index, answer in zip(indices, told, strict=True)}
    return [tuple(answers[reader, index] for reader in row.consumers) for index, row in enumerate(rows)]


def _ask(reader: OutputConsumer, features: Floats) -> Sequence[Floats | HeadFailed]:
    try:
        return list(reader.consume(features))
    except Exception as error:
        failure = HeadFailed(f"The head of {reader.label} failed.")
        failure.__cause__ = error
        return [failure] * len(features)
