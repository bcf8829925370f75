"""What every peer serves, in two forms: the peer's own code is the same around both.

    documented   the network as a Keras model (`predict_on_batch`), the head as XGBoost gives it
    ours         models.classifier with the engine that our server takes, so that only the serving layer differs

Pictures are decoded by models.preprocess in both. Workers are processes that a peer starts in its own way, so all is
said in environment variables.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from pathlib import Path

import numpy as np

from benchmarks.harness.keras_model import build
from models import heads
from models.arrays import Pixels
from models.artifacts import catalog
from models.artifacts.store import ClassifierArtifact, Store
from models.classifier import BatchItem, classify
from models.cpu import available_cores
from models.manifests import HEAD_FILE
from models.preprocess import prepare

MAX_BATCH = 32
STORE, MODEL, FORM = "PEER_STORE", "PEER_MODEL", "PEER_FORM"

Answer = dict[str, str | float]
Decode = Callable[[Sequence[bytes]], list[Pixels]]
Predict = Callable[[Sequence[Pixels]], list[Answer]]


class Form(StrEnum):
    """What is inside a peer."""

    DOCUMENTED = "a"
    OURS = "b"


def variables(store: Path, model: str, form: Form) -> dict[str, str]:
    """What the functions below read."""
    return {STORE: str(store.resolve()), MODEL: model, FORM: form}


def decoder() -> Decode:
    """Encoded images -> uint8 [size, size, 3] each, on as many threads as our server has. Loads no network."""
    spec, threads = _artifact().manifest.preprocess, ThreadPoolExecutor(available_cores())
    return lambda images: list(threads.map(lambda data: prepare(data, [spec])[spec], images))


def predictor() -> Predict:
    """Batch of pixels -> the likeliest class of each, with its score and the engine that found it."""
    return _documented() if Form(os.environ[FORM]) is Form.DOCUMENTED else _ours()


def _documented() -> Predict:
    store, artifact = _store(), _artifact()
    network = build(store.extractor_of(artifact))
    head, classes = heads.load(artifact.read(HEAD_FILE)), artifact.manifest.classes

    def predict(batch: Sequence[Pixels]) -> list[Answer]:
        found = head.predict_proba(network.predict_on_batch(np.stack(batch)))
        return [_answer(classes, row, "keras:float32") for row in found]

    return predict


def _ours() -> Predict:
    loaded = catalog.load(_store(), [os.environ[MODEL]])
    model = loaded.classifiers[0]
    engine = model.extractor.engine

    def predict(batch: Sequence[Pixels]) -> list[Answer]:
        found = classify(engine, [BatchItem(pixels, (model,)) for pixels in batch])
        return [_answer(model.classes, row, engine.name) for (row,) in found]

    return predict


def _answer(classes: Sequence[str], probabilities: np.ndarray, engine: str) -> Answer:
    best = int(np.argmax(probabilities))
    return {"label": classes[best], "score": float(probabilities[best]), "engine": engine}


def _store() -> Store:
    return Store(Path(os.environ[STORE]))


def _artifact() -> ClassifierArtifact:
    return _store().classifier(os.environ[MODEL])
