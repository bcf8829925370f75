"""The model inside the peers, in two setups; a peer's own code is the same around both.

    documented   the network as a Keras model (`predict_on_batch`), the head as XGBoost returns it
    our engine   models.classifier with the engine that our server runs, so that only the serving layer differs

Images are decoded by models.preprocess in both. Peers start their worker processes themselves, so the setup is passed
in environment variables.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from pathlib import Path

import numpy as np

from benchmarks.harness.keras_model import build_keras_model
from models import heads
from models.arrays import Pixels
from models.artifacts import catalog
from models.artifacts.store import ClassifierArtifact, Store
from models.classifier import BatchItem, classify
from models.cpu import available_cores
from models.manifests import HEAD_FILE
from models.preprocess import prepare

MAX_BATCH = 32
STORE_VARIABLE, MODEL_VARIABLE, SETUP_VARIABLE = "PEER_STORE", "PEER_MODEL", "PEER_SETUP"

PredictionBody = dict[str, str | float]
"""Label, score and engine."""
Decode = Callable[[Sequence[bytes]], list[Pixels]]
Predict = Callable[[Sequence[Pixels]], list[PredictionBody]]


class Setup(StrEnum):
    """The model inside a peer: as the peer's documentation shows, or with our engine."""

    DOCUMENTED = "a"
    OUR_ENGINE = "b"


def setup_variables(store: Path, model: str, setup: Setup) -> dict[str, str]:
    """Return the environment variables that `decoder` and `predictor` read in a peer's workers."""
    return {STORE_VARIABLE: str(store.resolve()), MODEL_VARIABLE: model, SETUP_VARIABLE: setup}


def decoder() -> Decode:
    """Return a function from encoded images to uint8 [size, size, 3] each; it uses one thread per core."""
    spec, threads = _artifact().manifest.preprocess, ThreadPoolExecutor(available_cores())
    return lambda images: list(threads.map(lambda data: prepare(data, [spec])[spec], images))


def predictor() -> Predict:
    """Load the model; return a function from a batch of pixels to the most likely class of each image."""
    is_documented = Setup(os.environ[SETUP_VARIABLE]) is Setup.DOCUMENTED
    return _documented_predictor() if is_documented else _our_predictor()


def _documented_predictor() -> Predict:
    store, artifact = _store(), _artifact()
    network = build_keras_model(store.extractor_of(artifact))
    head, classes = heads.load(artifact.read(HEAD_FILE)), artifact.manifest.classes

    def predict(batch: Sequence[Pixels]) -> list[PredictionBody]:
        probabilities = head.predict_proba(network.predict_on_batch(np.stack(batch)))
        return [_to_body(classes, row, "keras:float32") for row in probabilities]

    return predict


def _our_predictor() -> Predict:
    (model,) = catalog.load(_store(), [os.environ[MODEL_VARIABLE]]).classifiers
    engine = model.extractor.engine

    def predict(batch: Sequence[Pixels]) -> list[PredictionBody]:
        results = classify(engine, [BatchItem(pixels, (model,)) for pixels in batch])
        return [_to_body(model.classes, row, engine.name) for (row,) in results]

    return predict


def _to_body(classes: Sequence[str], probabilities: np.ndarray, engine: str) -> PredictionBody:
    best = int(np.argmax(probabilities))
    return {"label": classes[best], "score": float(probabilities[best]), "engine": engine}


def _store() -> Store:
    return Store(Path(os.environ[STORE_VARIABLE]))


def _artifact() -> ClassifierArtifact:
    return _store().classifier(os.environ[MODEL_VARIABLE])
