from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from models import networks
from training.network.batch_norm import FusedBatchNormalization, with_fused_normalization


def _layers(scale: bool) -> tuple[keras.layers.Layer, keras.layers.Layer]:
    settings = {"epsilon": 0.001, "momentum": 0.9, "scale": scale, "name": "normalization"}
    plain, fused = keras.layers.BatchNormalization(**settings), FusedBatchNormalization(**settings)
    for layer in (plain, fused):
        layer.build((None, 3, 3, 4))
        layer.beta.assign(np.array([0.0, 1.0, 2.0, -1.0]))
    return plain, fused


@pytest.mark.parametrize("scale", [True, False])
def test_it_computes_what_keras_computes(scale: bool) -> None:
    plain, fused = _layers(scale)
    values = np.random.default_rng(0).normal(3, 2, (64, 3, 3, 4)).astype(np.float32)
    for training in (True, True, False):
        expected, found = plain(values, training=training), fused(values, training=training)
        np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_allclose(fused.moving_mean, plain.moving_mean, rtol=1e-5)
    np.testing.assert_allclose(fused.moving_variance, plain.moving_variance, rtol=1e-5)


def test_its_gradients_are_those_of_keras() -> None:
    plain, fused = _layers(scale=True)
    values = tf.constant(np.random.default_rng(0).normal(3, 2, (16, 3, 3, 4)).astype(np.float32))
    gradients = []
    for layer in (plain, fused):
        with tf.GradientTape() as tape:
            tape.watch(values)
            loss = tf.reduce_sum(layer(values, training=True) ** 3)
        gradients.append(tape.gradient(loss, [values, layer.gamma.value, layer.beta.value]))
    for expected, found in zip(*gradients, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-2)


def test_a_layer_that_is_not_trained_keeps_its_statistics_and_uses_them() -> None:
    plain, fused = _layers(scale=False)
    values = np.random.default_rng(0).normal(3, 2, (16, 3, 3, 4)).astype(np.float32)
    for layer in (plain, fused):
        layer.trainable = False
    np.testing.assert_allclose(fused(values, training=True), plain(values, training=True), atol=1e-5)
    np.testing.assert_array_equal(fused.moving_mean, np.zeros(4))


def test_a_network_keeps_the_names_of_its_weights() -> None:
    model = networks.build("inception_v3", 75, {"top": 3}, dropout=0.1)
    fused = with_fused_normalization(model)
    assert networks.tensors(fused).keys() == networks.tensors(model).keys()
    assert sum(isinstance(layer, FusedBatchNormalization) for layer in fused.layers) == 94
