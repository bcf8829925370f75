"""Load the models of a store, verify them and warm up their engines."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from app.settings import Settings
from models.artifacts import catalog as catalogs
from models.artifacts.catalog import Catalog
from models.artifacts.proof import prove_changes
from models.artifacts.store import ArtifactVersions, Store, parse_name
from models.classifier import BatchItem, Classifier, Extractor, classify
from models.engines.selection import EngineSelection
from models.errors import ModelNotFound

_MAX_BATCH_CPU = 16  # on cores that also decode, larger batches gain less throughput than they add latency
_MAX_BATCH_CPU_LARGE = 8  # at 224 px, 16 images leave the processor's cache and take twice the memory
_LARGE_INPUT = 160  # px
_MAX_BATCH_GPU = 32


@dataclass(frozen=True)
class LoadedModels:
    """Verified and warmed-up models, and the one that is used when a request names none."""

    catalog: Catalog
    default: Classifier


Loader = Callable[[Settings, Catalog | None, ArtifactVersions], Catalog]
"""(settings, the catalog served during loading, hidden versions) -> catalog; blocks; may raise ModelsError."""


def load_catalog(
    settings: Settings, previous: Catalog | None = None, hidden: ArtifactVersions = frozenset()
) -> Catalog:
    """Load and verify every model of the store that is not hidden; raises ModelNotFound, ArtifactError.

    A running server has models to lose: it loads others only after they were proved in another process.
    """
    selection = EngineSelection(settings.engine, settings.precision, settings.threads)
    store = Store(settings.store, hidden)
    proved = prove_changes(store, selection, previous) if previous else None
    return catalogs.load(store, selection=selection, previous=previous, proved=proved)


def load_models(
    settings: Settings,
    loader: Loader = load_catalog,
    previous: Catalog | None = None,
    hidden: ArtifactVersions = frozenset(),
) -> LoadedModels:
    """Load the models, choose the default and warm up every new engine. Blocks for seconds.

    Args:
        settings: name the store and the default model.
        loader: loads the catalog.
        previous: the catalog served during loading; engines that both catalogs share are already running.
        hidden: versions to leave out.

    Raises:
        ModelNotFound, ArtifactError: with one line that says what to do.
    """
    catalog = loader(settings, previous, hidden)
    default = _default_model(catalog, settings)
    running = set(previous.extractors) if previous else set()
    for extractor in set(catalog.extractors) - running:
        extractor.engine.warmup(max_batch(settings, extractor))
        warm_up(extractor, [model for model in catalog.classifiers if model.extractor is extractor])
    return LoadedModels(catalog, default)


def max_batch(settings: Settings, extractor: Extractor) -> int:
    """Return the largest number of images in one batch of an extractor."""
    if settings.max_batch:
        return settings.max_batch
    if not extractor.engine.shares_cores:
        return _MAX_BATCH_GPU
    return _MAX_BATCH_CPU if extractor.manifest.input_size <= _LARGE_INPUT else _MAX_BATCH_CPU_LARGE


def warm_up(extractor: Extractor, classifiers: Iterable[Classifier]) -> None:
    """Run a black image through an extractor and the heads of its classifiers."""
    side = extractor.manifest.input_size
    classify(extractor.engine, [BatchItem(np.zeros((side, side, 3), np.uint8), tuple(classifiers))])


def _default_model(catalog: Catalog, settings: Settings) -> Classifier:
    try:
        return catalog.find(*parse_name(settings.default_model))
    except ModelNotFound as error:
        if settings.is_default_model_set:
            raise ModelNotFound(f"APP_DEFAULT_MODEL={settings.default_model}: {error}") from error
        return min(catalog.classifiers, key=lambda classifier: (classifier.name, -classifier.version))
