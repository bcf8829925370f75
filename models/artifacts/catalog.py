"""The store, loaded: engines running, heads read back, both proved against their golden outputs."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from models import heads
from models.artifacts import golden
from models.artifacts.store import ClassifierArtifact, ExtractorArtifact, Store, parse_name
from models.classifier import Classifier, Extractor, OutputConsumer
from models.engines.selection import EngineSelection, create
from models.errors import ArtifactError, EngineError, GoldenMismatch, ModelNotFound, ModelsError, UnsafePickle
from models.heads import Head
from models.manifests import CARD_FILE, GOLDEN_FILE
from models.preprocess import PreprocessSpec

logger = logging.getLogger(__name__)

AUTO = EngineSelection()
R = TypeVar("R", bound=OutputConsumer)


def load_extractor(artifact: ExtractorArtifact, choice: EngineSelection = AUTO) -> Extractor:
    """Verify an extractor, compile it for this machine, and replay its golden outputs.

    Of the engines and precisions that the choice leaves open, the first that repeats the golden outputs is taken.

    Raises:
        ArtifactError: a file was changed, the weights do not fit, or the outputs differ; says which.
    """
    artifact.verify()
    names = choice.candidates(artifact.manifest)
    for name in names:
        try:
            return _validated_extractor(artifact, name, choice)
        except (GoldenMismatch, EngineError) as error:
            if name == names[-1]:
                raise
            logger.warning("%s Trying the next engine.", error)
    raise AssertionError("candidates are never none")


def _validated_extractor(artifact: ExtractorArtifact, name: str, choice: EngineSelection) -> Extractor:
    manifest = artifact.manifest
    try:
        engine = create(name, manifest, artifact.read, choice.threads)
        golden.replay_extractor(artifact.read(GOLDEN_FILE), engine, manifest.engines[name])
    except GoldenMismatch as error:
        raise GoldenMismatch(f"Refusing {artifact.label} in {artifact.folder}: {error}") from error
    except ModelsError:
        raise
    except Exception as error:  # a library without its driver, or on a device without memory, can raise anything
        raise EngineError(f"{name} cannot run {artifact.label} on this machine: {error}") from error
    return Extractor(manifest, engine)


def load_classifier(artifact: ClassifierArtifact, extractor: Extractor) -> Classifier:
    """Verify a classifier, read its head back, and replay its golden outputs.

    Raises:
        ArtifactError: a file was changed, the pickle is unsafe, or the outputs differ; says which.
    """
    artifact.verify()
    reference = artifact.manifest.head
    try:
        head = Head(heads.load(artifact.read(reference.file)), reference.temperature)
        golden.replay_head(artifact.read(GOLDEN_FILE), head)
    except (UnsafePickle, GoldenMismatch) as error:
        raise type(error)(f"Refusing {artifact.label} in {artifact.folder}: {error}") from error
    return Classifier(artifact.manifest, extractor, head, artifact.read(CARD_FILE).decode())


@dataclass(frozen=True)
class Catalog:
    """All classifiers that are ready, by name, the newest version first."""

    classifiers: tuple[Classifier, ...]

    def find(self, name: str, version: int | None = None) -> Classifier:
        """A classifier by name, by default its newest version; raises ModelNotFound, which lists them all."""
        for classifier in self.classifiers:
            if classifier.name == name and version in (None, classifier.version):
                return classifier
        wanted = name if version is None else f"{name}@{version}"
        there = ", ".join(f"{classifier.name}@{classifier.version}" for classifier in self.classifiers)
        raise ModelNotFound(f"There is no model {wanted}. There is: {there or 'none'}.")

    @property
    def extractors(self) -> tuple[Extractor, ...]:
        """The distinct extractors below the classifiers."""
        return tuple(dict.fromkeys(classifier.extractor for classifier in self.classifiers))


def load(
    store: Store, names: Sequence[str] = (), choice: EngineSelection = AUTO, before: Catalog | None = None
) -> Catalog:
    """Load classifiers and, once each, the extractors that they stand on.

    Args:
        store: where they lie.
        names: `name` (the newest version) or `name@version`; none means every version of every classifier.
        choice: of the engine below them.
        before: what is loaded already; of that, what is the same in the store is verified and kept.

    Raises:
        ModelNotFound, ArtifactError: with one line that says what to do.
    """
    artifacts = [store.classifier(*parse_name(name)) for name in names] or store.classifiers()
    if not artifacts:
        raise ModelNotFound(f"There is no classifier in {store.root}. Make one: python -m training run --help")
    kept = {each.manifest.model_dump_json(): each for each in before.classifiers} if before else {}
    extractors = {each.manifest.model_dump_json(): each for each in before.extractors} if before else {}
    loaded, verified = [], set()
    for artifact in artifacts:
        below = store.extractor_of(artifact)
        key = below.manifest.model_dump_json()
        if key not in extractors:
            extractors[key] = load_extractor(below, choice)
        elif key not in verified:
            below.verify()
        verified.add(key)
        same = kept.get(artifact.manifest.model_dump_json())
        if same and same.extractor is extractors[key]:
            artifact.verify()
            loaded.append(same)
        else:
            loaded.append(load_classifier(artifact, extractors[key]))
    return Catalog(tuple(loaded))


def group(readers: Iterable[R]) -> dict[tuple[Extractor, PreprocessSpec], tuple[R, ...]]:
    """Those that can share a row: readers of the same extractor and the same preprocess spec."""
    groups: dict[tuple[Extractor, PreprocessSpec], tuple[R, ...]] = {}
    for reader in readers:
        key = (reader.extractor, reader.spec)
        groups[key] = (*groups.get(key, ()), reader)
    return groups


def verify(store: Store) -> Iterator[tuple[str, ModelsError | None]]:
    """Load everything in a store; each artifact's label, and why it is refused or None."""
    ready: dict[str, Extractor] = {}
    for below in store.extractors():
        try:
            ready[below.label] = load_extractor(below)
            yield f"extractor {below.label}", None
        except ModelsError as error:
            yield f"extractor {below.label}", error
    for artifact in store.classifiers():
        try:
            extractor = ready.get(store.extractor_of(artifact).label)
            if extractor is None:
                raise ArtifactError("the extractor that it stands on is refused.")
            load_classifier(artifact, extractor)
            yield f"classifier {artifact.label}", None
        except ModelsError as error:
            yield f"classifier {artifact.label}", error
