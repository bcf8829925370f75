"""Inference on preprocessed images: one extractor run per batch, then one run of each head.

models.preprocess.prepare(bytes, specs) -> pixels, one array per distinct spec    (per image, in any process)
classify(engine, items) -> probabilities                                          (per batch)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from models.arrays import Floats, Pixels
from models.engines.base import Engine, Runner
from models.errors import HeadFailed
from models.heads import Head
from models.hierarchy import Hierarchy, Parent
from models.manifests import ClassifierManifest, ExtractorManifest
from models.mirroring import run_with_mirroring
from models.networks import POOLED
from models.preprocess import PreprocessSpec


@dataclass(frozen=True, eq=False)
class Extractor:
    """A loaded network and the engine that runs it."""

    manifest: ExtractorManifest
    engine: Engine


class OutputConsumer(Protocol):
    """A consumer of one extractor output, for images preprocessed by one spec."""

    @property
    def label(self) -> str:
        """Name in error messages."""

    @property
    def extractor(self) -> Extractor:
        """Extractor whose output is consumed."""

    @property
    def spec(self) -> PreprocessSpec:
        """Preprocessing of the images."""

    @property
    def output(self) -> str:
        """Name of the extractor output."""

    def consume(self, features: Floats) -> Floats:
        """float32 [images, width of the output] -> float32 [images, width of the result]."""


@dataclass(frozen=True)
class Embedding:
    """A consumer that returns the features unchanged."""

    extractor: Extractor
    spec: PreprocessSpec
    output: str = POOLED

    @property
    def label(self) -> str:
        """`name@version` of the extractor."""
        return f"{self.extractor.manifest.name}@{self.extractor.manifest.version}"

    def consume(self, features: Floats) -> Floats:
        return features


@dataclass(frozen=True, eq=False)
class Classifier:
    """A loaded head with its manifest, its extractor and its model card (Markdown)."""

    manifest: ClassifierManifest
    extractor: Extractor
    head: Head
    card: str

    @property
    def name(self) -> str:
        """Name in the store and in the API."""
        return self.manifest.name

    @property
    def version(self) -> int:
        """Version in the store."""
        return self.manifest.version

    @property
    def label(self) -> str:
        """`name@version`."""
        return f"{self.name}@{self.version}"

    @property
    def output(self) -> str:
        """Extractor output that the head consumes."""
        return self.manifest.extractor.output

    def consume(self, features: Floats) -> Floats:
        """float32 [images, features] -> probabilities, float32 [images, classes]."""
        return self.head.predict_proba(features)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the probabilities."""
        return self.manifest.classes

    @property
    def spec(self) -> PreprocessSpec:
        """Preprocessing that the head was fitted with."""
        return self.manifest.preprocess

    @cached_property
    def hierarchy(self) -> Hierarchy | None:
        """The coarser classes above its classes; None if it has none."""
        return Hierarchy(self.classes, self.manifest.parents) if self.manifest.parents else None

    def parents(self, probabilities: Floats, threshold: float = 0.0) -> list[Parent] | None:
        """Return the coarser classes that answer what an image shows, without those below `threshold`.

        They are described at `Hierarchy.answer`; None if the classifier has no coarser classes.
        """
        if self.hierarchy is None:
            return None
        return [parent for parent in self.hierarchy.answer(probabilities) if parent[1] >= threshold]

    def top(self, probabilities: Floats, k: int, threshold: float = 0.0) -> list[tuple[str, int, float]]:
        """Return (label, index, probability) of the `k` most probable classes, without those below `threshold`."""
        order = (-probabilities).argsort(kind="stable")[:k]
        scores = probabilities[order].tolist()
        return [
            (self.classes[index], index, score)
            for index, score in zip(order.tolist(), scores, strict=True)
            if score >= threshold
        ]


@dataclass(frozen=True, eq=False)
class BatchItem:
    """One preprocessed image, and the consumers of its extractor outputs."""

    pixels: Pixels
    consumers: tuple[OutputConsumer, ...]

    @property
    def mirror(self) -> bool:
        """True if the outputs are averaged with those of the mirror image."""
        return any(consumer.spec.mirror for consumer in self.consumers)


def classify(engine: Runner, items: Sequence[BatchItem]) -> list[tuple[Floats, ...]]:
    """Run the extractor once on all items, and each consumer once on its items.

    Returns:
        For each item, the result of each of its consumers in their order; for a classifier, probabilities [classes].

    Raises:
        HeadFailed: a head raised an exception, which is chained.
    """
    return [tuple(unwrap_output(result) for result in results) for results in try_classify(engine, items)]


def unwrap_output(result: Floats | HeadFailed) -> Floats:
    """Return a successful result; raise HeadFailed otherwise."""
    if isinstance(result, HeadFailed):
        raise result
    return result


def try_classify(engine: Runner, items: Sequence[BatchItem]) -> list[tuple[Floats | HeadFailed, ...]]:
    """Classify like `classify`, but return HeadFailed for the results of a failing head, so that others succeed."""
    mirrored_rows = np.flatnonzero([item.mirror for item in items])
    outputs = run_with_mirroring(engine, np.stack([item.pixels for item in items]), mirrored_rows)
    rows_by_consumer: dict[OutputConsumer, list[int]] = {}
    for row, item in enumerate(items):
        for consumer in item.consumers:
            rows_by_consumer.setdefault(consumer, []).append(row)
    results: dict[tuple[OutputConsumer, int], Floats | HeadFailed] = {}
    for consumer, rows in rows_by_consumer.items():
        consumed = _try_consume(consumer, outputs[consumer.output][rows])
        results |= {(consumer, row): result for row, result in zip(rows, consumed, strict=True)}
    return [tuple(results[consumer, row] for consumer in item.consumers) for row, item in enumerate(items)]


def _try_consume(consumer: OutputConsumer, features: Floats) -> Sequence[Floats | HeadFailed]:
    try:
        return list(consumer.consume(features))
    except Exception as error:
        failure = HeadFailed(f"The head of {consumer.label} failed.")
        failure.__cause__ = error
        return [failure] * len(features)
