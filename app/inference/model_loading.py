"""From a store to models that are verified and warm."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from app.settings import Settings
from models.artifacts import catalog as catalogs
from models.artifacts.catalog import Catalog
from models.artifacts.store import Store, Versions, parse_name
from models.classifier import BatchItem, Classifier, Extractor, classify
from models.engines.base import Engine
from models.engines.selection import EngineSelection
from models.errors import ModelNotFound


@dataclass(frozen=True)
class LoadedModels:
    """Models that are loaded and warm, and the one that answers when none is named."""

    catalog: Catalog
    default: Classifier


Loader = Callable[[Settings, Catalog | None, Versions], Catalog]


def load_catalog(settings: Settings, before: Catalog | None = None, hidden: Versions = frozenset()) -> Catalog:
    """Load and verify the store but for what is hidden; raises ModelNotFound, ArtifactError."""
    choice = EngineSelection(settings.engine, settings.precision, settings.threads)
    return catalogs.load(Store(settings.store, hidden), choice=choice, before=before)


def load_models(
    settings: Settings,
    loader: Loader = load_catalog,
    before: Catalog | None = None,
    hidden: Versions = frozenset(),
) -> LoadedModels:
    """Load the models, choose the default and warm every engine. Blocks for seconds.

    Args:
        settings: where the store lies, and the default.
        loader: loads the catalog.
        before: what is served meanwhile. Engines that it shares with the new catalog run already, for somebody else.
        hidden: classifiers that the store has and that are not wanted.

    Raises:
        ModelNotFound, ArtifactError: with one line that says what to do.
    """
    catalog = loader(settings, before, hidden)
    default = _default(catalog, settings)
    running = set(before.extractors) if before else set()
    for extractor in set(catalog.extractors) - running:
        extractor.engine.warmup(max_batch(settings, extractor.engine))
        readers = [classifier for classifier in catalog.classifiers if classifier.extractor is extractor]
        warm_up(extractor, readers)
    return LoadedModels(catalog, default)


def max_batch(settings: Settings, engine: Engine) -> int:
    """The most pictures of one run: on the cores that also decode, more would gain less than they have to wait."""
    return settings.max_batch or (16 if engine.shares_cores else 32)


def warm_up(extractor: Extractor, readers: Iterable[Classifier]) -> None:
    """Run a black picture through a network and all its heads."""
    side = extractor.manifest.input_size
    classify(extractor.engine, [BatchItem(np.zeros((side, side, 3), np.uint8), tuple(readers))])


def _default(catalog: Catalog, settings: Settings) -> Classifier:
    try:
        return catalog.find(*parse_name(settings.default_model))
    except ModelNotFound as error:
        if settings.has_chosen_default:
            raise ModelNotFound(f"APP_DEFAULT_MODEL={settings.default_model}: {error}") from error
        return min(catalog.classifiers, key=lambda classifier: (classifier.name, -classifier.version))
