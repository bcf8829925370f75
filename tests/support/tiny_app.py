"""A tiny but real store: heads that were fitted, on extractors that only average colours."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from app.settings import Settings
from models import heads
from models.arrays import Pixels
from models.artifacts import golden
from models.artifacts.catalog import Catalog, load_classifier
from models.artifacts.store import Store, Versions
from models.classifier import Extractor
from models.engines.base import Outputs, Runner
from models.heads import Floats, Head, Integers
from models.manifests import (
    CARD_FILE,
    GOLDEN_FILE,
    HEAD_FILE,
    WEIGHTS_FILE,
    Agreement,
    ClassifierManifest,
    ExtractorManifest,
    ExtractorReference,
    HeadReference,
    Metrics,
    sha256,
)
from models.preprocess import PreprocessSpec
from training.estimators.heads import Logistic

COLOURS = {
    "blue": (20, 30, 220),
    "dark": (10, 10, 10),
    "green": (20, 200, 30),
    "red": (220, 20, 30),
    "white": (245, 245, 245),
    "yellow": (230, 220, 20),
}
Classes = Mapping[str, tuple[int, int, int]]
"""The colour of each class."""
_SIDE = 32
_WARM_UPS = 1


@dataclass
class ColourEngine:
    """Averages the colours of a 2 x 2 grid; can be held up, and remembers the sizes of its batches."""

    name: str = "fixture:float32"
    go: threading.Event = field(default_factory=threading.Event)
    began: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    sizes: list[int] = field(default_factory=list)
    delay_s: float = 0
    fails: bool = False
    broken: bool = False
    max_concurrent_runs: int = 1
    shares_cores: bool = False

    @property
    def concurrent(self) -> Runner:
        """Itself."""
        return self

    def preferred_batch_sizes(self, max_batch: int) -> range:
        """All."""
        return range(1, max_batch + 1)

    def warmup(self, max_batch: int) -> None:
        """Nothing waits for a first batch here."""

    def __post_init__(self) -> None:
        self.go.set()

    def run(self, batch: Pixels) -> Outputs:
        """uint8 [n, size, size, 3] -> `pooled`: float32 [n, 12]."""
        self.sizes.append(len(batch))
        self.began.release()
        assert self.go.wait(30), "a test forgot to let the engine go"
        is_warm = len(self.sizes) > _WARM_UPS
        if self.broken or (self.fails and is_warm):
            raise ZeroDivisionError("the engine is broken")
        if is_warm:
            time.sleep(self.delay_s)
        return {"pooled": pool(batch)}


def pool(batch: Pixels) -> Floats:
    """uint8 [n, size, size, 3] -> float32 [n, 12]."""
    half = batch.shape[1] // 2
    grid = batch.reshape(len(batch), 2, half, 2, half, 3).mean(axis=(2, 4), dtype=np.float32)
    return np.asarray(grid.reshape(len(batch), 12) / np.float32(255))


def load(
    settings: Settings,
    before: Catalog | None = None,
    hidden: Versions = frozenset(),
    *,
    engines: dict[str, ColourEngine],
) -> Catalog:
    """What `models.artifacts.catalog.load` does, with engines of our own by the names of the extractors."""
    store = Store(settings.store, hidden)
    running = {extractor.manifest.name: extractor for extractor in before.extractors} if before else {}
    extractors = {
        name: running.get(name) or Extractor(artifact.manifest, engines[name])
        for artifact in store.extractors()
        for name in [artifact.manifest.name]
    }
    return Catalog(
        tuple(
            load_classifier(artifact, extractors[artifact.manifest.extractor.name]) for artifact in store.classifiers()
        )
    )


def build(root: Path) -> None:
    """`colours` twice and `tones` on one extractor, `far` on another; `tones` has a spec of its own."""
    store = Store(root)
    for name in ("near_net", "far_net"):
        _save_extractor(store, name)
    _save_classifier(store, "colours", "near_net", PreprocessSpec(size=_SIDE))
    _save_classifier(store, "colours", "near_net", PreprocessSpec(size=_SIDE), C=2.0)
    _save_classifier(store, "tones", "near_net", PreprocessSpec(size=_SIDE, source=16))
    _save_classifier(store, "far", "far_net", PreprocessSpec(size=_SIDE))


def add_classifier(root: Path, name: str, extractor: str, classes: Classes = COLOURS) -> None:
    """One more version of a classifier in a store that `build` made."""
    _save_classifier(Store(root), name, extractor, PreprocessSpec(size=_SIDE), classes)


def _save_extractor(store: Store, name: str) -> None:
    def build(version: int) -> tuple[ExtractorManifest, dict[str, bytes]]:
        files = {WEIGHTS_FILE: name.encode(), GOLDEN_FILE: b"", CARD_FILE: b"# Extractor"}
        manifest = ExtractorManifest(
            name=name,
            version=version,
            created="2026-01-01",
            network="fixture",
            input_size=_SIDE,
            outputs={"pooled": 12},
            tops={},
            engines={"fixture:float32": Agreement(min_cosine=0.99, min_top1=1)},
            fitted_on={},
            recipe={},
            seed=0,
            libraries={},
            files={file: sha256(data) for file, data in files.items()},
        )
        return manifest, files

    store.add(build, ExtractorManifest, name)


def _save_classifier(
    store: Store,
    name: str,
    extractor: str,
    spec: PreprocessSpec,
    classes: Classes = COLOURS,
    C: float = 1.0,  # noqa: N803
) -> None:
    features, labels = _examples(classes)
    estimator = Logistic(kind="logistic", C=C).fit(features, labels, seed=0)
    pickled = heads.save(estimator)
    figures = Metrics(
        images=len(labels),
        accuracy=0.75,
        accuracy_interval=(0.7, 0.8),
        top5_accuracy=1.0,
        log_loss=0.5,
        expected_calibration_error=0.1,
        accuracy_by_class=dict.fromkeys(classes, 0.75),
        most_frequent=1 / len(classes),
    )

    def build(version: int) -> tuple[ClassifierManifest, dict[str, bytes]]:
        files = {
            HEAD_FILE: pickled,
            GOLDEN_FILE: golden.record_head(Head(estimator), features[:8]),
            CARD_FILE: (
                f"# {name}\n\nNames colours.\n\n- digest: {'0123456789abcdef' * 4}\n\n"
                "| set | images | accuracy (95 % interval) | top 5 | log loss | calibration error |\n"
                "|---|---|---|---|---|---|\n| test | 72 | 75.0 % (70.0 % to 80.0 %) | 100.0 % | 0.500 | 0.100 |\n"
            ).encode(),
        }
        manifest = ClassifierManifest(
            name=name,
            version=version,
            created="2026-01-01",
            classes=tuple(classes),
            preprocess=spec,
            extractor=ExtractorReference(name=extractor, weights_sha256=sha256(extractor.encode()), output="pooled"),
            head=HeadReference(kind="logistic", sha256=sha256(pickled)),
            metrics={"test": figures},
            recipe={},
            data={},
            seed=0,
            libraries={},
            files={file: sha256(data) for file, data in files.items()},
        )
        return manifest, files

    store.add(build, ClassifierManifest, name)


def _examples(classes: Classes, each: int = 12) -> tuple[Floats, Integers]:
    random = np.random.default_rng(0)
    colours = list(classes.values())
    noise = random.normal(0, 25, (len(colours), each, _SIDE, _SIDE, 3))
    pixels = np.clip(np.array(colours)[:, None, None, None] + noise, 0, 255).astype(np.uint8)
    return pool(pixels.reshape(-1, _SIDE, _SIDE, 3)), np.repeat(np.arange(len(colours)), each)
