"""The Keras network of the dense head, and the arrays that are kept of it."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from models import heads
from models.heads import DenseLayers
from tests.support.clusters import examples
from training.estimators import dense_keras
from training.estimators.dense import Dense
from training.estimators.dense_keras import DenseSettings


def settings(parameters: Dense) -> DenseSettings:
    return DenseSettings(
        parameters.units,
        parameters.dropout,
        parameters.learning_rate,
        parameters.batch,
        parameters.epochs,
        parameters.patience,
    )


def test_dense_layers_give_the_same_answers_as_keras() -> None:
    features, _ = examples(3)
    keras.utils.set_random_seed(1)
    network = dense_keras.build(settings(Dense(units=(7, 5))), features=6, classes=3)
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    expected = network.predict((features - mean) / deviation, verbose=0)
    layers = dense_keras.with_raw_features(dense_keras.layers_of(network), mean, deviation)
    assert np.allclose(layers.predict_proba(features), expected, atol=1e-5)


def test_default_parameters_build_the_network_of_the_blog_post() -> None:
    network = dense_keras.build(settings(Dense()), features=2048, classes=10)
    assert [layer.units for layer in network.layers if hasattr(layer, "units")] == [2048, 512, 64, 10]
    assert [layer.rate for layer in network.layers if hasattr(layer, "rate")] == [0.2, 0.2, 0.2]
    assert isinstance(network.optimizer, keras.optimizers.Adam)
    assert float(network.optimizer.learning_rate) == pytest.approx(0.001)


def test_dense_head_is_stored_without_keras() -> None:
    features, labels = examples(4)
    head = Dense(units=(16, 8), learning_rate=0.03, batch=16, epochs=6).fit(features, labels, seed=0)
    assert isinstance(head, DenseLayers)
    assert b"keras" not in heads.save(head)
    assert {kernel.dtype for kernel in head.kernels} == {np.dtype(np.float32)}
