"""Loading of a store: verify artifacts, compile extractors, read heads and replay the golden outputs of both."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from models import heads
from models.artifacts import golden
from models.artifacts.store import ClassifierArtifact, ExtractorArtifact, Store, parse_name
from models.classifier import Classifier, Extractor, OutputConsumer
from models.engines.selection import EngineSelection, create
from models.errors import (
    ArtifactError,
    CorruptArtifact,
    EngineError,
    GoldenMismatch,
    ModelNotFound,
    ModelsError,
    UnsafePickle,
)
from models.heads import Head
from models.manifests import CARD_FILE, GOLDEN_FILE, Manifest, render, sha256
from models.preprocess import PreprocessSpec

logger = logging.getLogger(__name__)

AUTO = EngineSelection()
ConsumerT = TypeVar("ConsumerT", bound=OutputConsumer)


def load_extractor(artifact: ExtractorArtifact, selection: EngineSelection = AUTO) -> Extractor:
    """Verify an extractor, compile it for this machine, and replay its golden outputs.

    Of the engines and precisions that `selection` allows, use the fastest that reproduces the golden outputs.

    Raises:
        ArtifactError: a file was changed, the weights do not match the network, or the outputs differ.
    """
    artifact.verify()
    names = selection.candidates(artifact.manifest)
    for name in names:
        try:
            return _load_on_engine(artifact, name, selection)
        except (GoldenMismatch, EngineError) as error:
            if name == names[-1]:
                raise
            logger.warning("%s Trying the next engine.", error)
    raise AssertionError("there is at least one candidate")


def _load_on_engine(artifact: ExtractorArtifact, name: str, selection: EngineSelection) -> Extractor:
    manifest = artifact.manifest
    try:
        engine = create(name, manifest, artifact.read, selection.threads)
        golden.replay_extractor(artifact.read(GOLDEN_FILE), engine, manifest.engines[name])
    except GoldenMismatch as error:
        raise GoldenMismatch(f"Cannot load {artifact.label} in {artifact.folder}: {error}") from error
    except ModelsError:
        raise
    except Exception as error:  # a library without its driver, or without device memory, can raise anything
        raise EngineError(f"{name} cannot run {artifact.label} on this machine: {error}") from error
    return Extractor(manifest, engine)


def load_classifier(artifact: ClassifierArtifact, extractor: Extractor) -> Classifier:
    """Verify a classifier, read its head, and replay its golden outputs; raises ArtifactError like `load_head`."""
    head = load_head(artifact, extractor.manifest.outputs.get(artifact.manifest.extractor.output, 0))
    return Classifier(artifact.manifest, extractor, head, artifact.read(CARD_FILE).decode(errors="replace"))


def load_head(artifact: ClassifierArtifact, features: int) -> Head:
    """Verify a classifier, read its head, and replay its golden outputs.

    Args:
        artifact: the classifier.
        features: width of the extractor's output that the head consumes.

    Raises:
        ArtifactError: a file was changed, the pickle is unsafe, the head has other inputs or outputs than its extractor
            and its manifest state, or the golden outputs differ.
    """
    artifact.verify()
    reference, classes = artifact.manifest.head, len(artifact.manifest.classes)
    try:
        estimator = heads.load(artifact.read(reference.file))
        if not estimator.fits(features, classes):
            raise UnsafePickle(f"The head is not for {features} features and {classes} classes. Install it again.")
        head = Head(estimator, reference.temperature)
        golden.replay_head(artifact.read(GOLDEN_FILE), head)
    except (UnsafePickle, GoldenMismatch) as error:
        raise type(error)(f"Cannot load {artifact.label} in {artifact.folder}: {error}") from error
    return head


@dataclass(frozen=True)
class Catalog:
    """The loaded classifiers, by name, newest version first."""

    classifiers: tuple[Classifier, ...]

    def find(self, name: str, version: int | None = None) -> Classifier:
        """Return a classifier, by default its newest version; raises ModelNotFound."""
        for classifier in self.classifiers:
            if classifier.name == name and version in (None, classifier.version):
                return classifier
        label = name if version is None else f"{name}@{version}"
        available = ", ".join(classifier.label for classifier in self.classifiers) or "none"
        raise ModelNotFound(f"There is no model {label}. Available: {available}.")

    @property
    def extractors(self) -> tuple[Extractor, ...]:
        """The distinct extractors of the classifiers."""
        return tuple(dict.fromkeys(classifier.extractor for classifier in self.classifiers))


def load(
    store: Store,
    names: Sequence[str] = (),
    selection: EngineSelection = AUTO,
    previous: Catalog | None = None,
    proved: Collection[str] | None = None,
) -> Catalog:
    """Load classifiers, and each of their extractors once.

    Args:
        store: the store.
        names: `name` (newest version) or `name@version`; empty: every version of every classifier.
        selection: allowed engines.
        previous: already loaded classifiers; those whose manifests are unchanged are verified and reused.
        proved: keys (`key_of`) of the other artifacts that may be loaded; None: all.

    Raises:
        ModelNotFound: the store lacks a classifier or its extractor.
        ArtifactError: an artifact is invalid, or not among `proved`.
    """
    artifacts = [store.classifier(*parse_name(name)) for name in names] or store.classifiers()
    if not artifacts:
        raise ModelNotFound(f"There is no classifier in {store.root}. Train one: python -m training run --help")
    loader = _Loader(store, selection, previous or Catalog(()), proved)
    return Catalog(tuple(loader.classifier(artifact) for artifact in artifacts))


def key_of(manifest: Manifest) -> str:
    """Return what identifies an artifact with all its bytes: the digest of its manifest, which lists their digests."""
    return sha256(render(manifest))


class _Loader:
    """Load artifacts, or verify and reuse those that are already loaded from an equal manifest."""

    def __init__(
        self, store: Store, selection: EngineSelection, previous: Catalog, proved: Collection[str] | None
    ) -> None:
        self._store, self._selection, self._proved = store, selection, proved
        self._classifiers = {key_of(loaded.manifest): loaded for loaded in previous.classifiers}
        self._extractors = {key_of(loaded.manifest): loaded for loaded in previous.extractors}
        self._verified: set[str] = set()

    def classifier(self, artifact: ClassifierArtifact) -> Classifier:
        extractor = self._extractor(self._store.extractor_of(artifact))
        key = key_of(artifact.manifest)
        loaded = self._classifiers.get(key)
        if loaded and loaded.extractor is extractor:
            artifact.verify()
            return loaded
        if not loaded:
            self._require_proof(artifact, key)
        return load_classifier(artifact, extractor)

    def _require_proof(self, artifact: ExtractorArtifact | ClassifierArtifact, key: str) -> None:
        if self._proved is not None and key not in self._proved:
            raise CorruptArtifact(f"Cannot load {artifact.label} in {artifact.folder}: it changes at present.")

    def _extractor(self, artifact: ExtractorArtifact) -> Extractor:
        key = key_of(artifact.manifest)
        if key not in self._extractors:
            self._require_proof(artifact, key)
            self._extractors[key] = load_extractor(artifact, self._selection)
        elif key not in self._verified:
            artifact.verify()
        self._verified.add(key)
        return self._extractors[key]


def group_consumers(
    consumers: Iterable[ConsumerT],
) -> dict[tuple[Extractor, PreprocessSpec], tuple[ConsumerT, ...]]:
    """Group consumers that can share a batch item: those with the same extractor and preprocess spec."""
    groups: dict[tuple[Extractor, PreprocessSpec], tuple[ConsumerT, ...]] = {}
    for consumer in consumers:
        key = (consumer.extractor, consumer.spec)
        groups[key] = (*groups.get(key, ()), consumer)
    return groups


def verify(store: Store) -> Iterator[tuple[str, ModelsError | None]]:
    """Load every artifact; yield its label, and its error or None."""
    extractors: dict[str, Extractor] = {}
    for extractor_artifact in store.extractors():
        try:
            extractors[extractor_artifact.label] = load_extractor(extractor_artifact)
            yield f"extractor {extractor_artifact.label}", None
        except ModelsError as error:
            yield f"extractor {extractor_artifact.label}", error
    for artifact in store.classifiers():
        try:
            extractor = extractors.get(store.extractor_of(artifact).label)
            if extractor is None:
                raise ArtifactError("its extractor is invalid.")
            load_classifier(artifact, extractor)
            yield f"classifier {artifact.label}", None
        except ModelsError as error:
            yield f"classifier {artifact.label}", error
