"""Batch normalization: fused in one operation during a fit, and recomputed over many batches after it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from models import networks
from models.arrays import Pixels
from tests.support import tiny_fit
from training.network import trainer
from training.network.batch_norm import FusedBatchNormalization, recompute_batch_norm, with_fused_batch_norm
from training.network.fit import fit_network
from training.network.history import History, HistoryRecord, TopMetrics


def _keras_and_fused_layer(scale: bool) -> tuple[keras.layers.Layer, keras.layers.Layer]:
    settings = {"epsilon": 0.001, "momentum": 0.9, "scale": scale, "name": "normalization"}
    plain, fused = keras.layers.BatchNormalization(**settings), FusedBatchNormalization(**settings)
    for layer in (plain, fused):
        layer.build((None, 3, 3, 4))
        layer.beta.assign(np.array([0.0, 1.0, 2.0, -1.0]))
    return plain, fused


@pytest.mark.parametrize("scale", [True, False])
def test_fused_layer_computes_the_same_as_keras(scale: bool) -> None:
    plain, fused = _keras_and_fused_layer(scale)
    values = np.random.default_rng(0).normal(3, 2, (64, 3, 3, 4)).astype(np.float32)
    for training in (True, True, False):
        expected, actual = plain(values, training=training), fused(values, training=training)
        np.testing.assert_allclose(actual, expected, atol=1e-4)
    np.testing.assert_allclose(fused.moving_mean, plain.moving_mean, rtol=1e-5)
    np.testing.assert_allclose(fused.moving_variance, plain.moving_variance, rtol=1e-5)


def test_gradients_of_the_fused_layer_are_those_of_keras() -> None:
    plain, fused = _keras_and_fused_layer(scale=True)
    values = tf.constant(np.random.default_rng(0).normal(3, 2, (16, 3, 3, 4)).astype(np.float32))
    gradients = []
    for layer in (plain, fused):
        with tf.GradientTape() as tape:
            tape.watch(values)
            loss = tf.reduce_sum(layer(values, training=True) ** 3)
        gradients.append(tape.gradient(loss, [values, layer.gamma.value, layer.beta.value]))
    for expected, actual in zip(*gradients, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-2)


def test_frozen_fused_layer_uses_its_statistics_and_keeps_them() -> None:
    plain, fused = _keras_and_fused_layer(scale=False)
    values = np.random.default_rng(0).normal(3, 2, (16, 3, 3, 4)).astype(np.float32)
    for layer in (plain, fused):
        layer.trainable = False
    np.testing.assert_allclose(fused(values, training=True), plain(values, training=True), atol=1e-5)
    np.testing.assert_array_equal(fused.moving_mean, np.zeros(4))


def test_fused_network_keeps_the_names_of_its_weights() -> None:
    model = networks.build("inception_v3", 75, {"top": 3}, dropout=0.1)
    fused = with_fused_batch_norm(model)
    assert networks.get_tensors(fused).keys() == networks.get_tensors(model).keys()
    assert sum(isinstance(layer, FusedBatchNormalization) for layer in fused.layers) == 94


def _model() -> keras.Model:
    pixels = keras.Input((None, None, 3))
    values = layers.BatchNormalization(scale=False, momentum=0.9)(layers.Conv2D(4, 3, use_bias=False)(pixels))
    return with_fused_batch_norm(
        keras.Model(pixels, layers.GlobalAveragePooling2D()(layers.Activation("relu")(values)))
    )


def _batches(count: int = 5) -> list[Pixels]:
    random = np.random.default_rng(0)
    return [random.integers(0, 40 * (number + 1), (16, 8, 8, 3), dtype=np.uint8) for number in range(count)]


def test_recomputed_statistics_are_those_of_all_batches_together() -> None:
    model, batches = _model(), _batches()
    recompute_batch_norm(model, batches)
    convolution, normalization = model.layers[1], model.layers[2]
    values = convolution(networks.scale(np.concatenate(batches))).numpy()
    np.testing.assert_allclose(normalization.moving_mean, values.mean(axis=(0, 1, 2)), atol=1e-4)
    np.testing.assert_allclose(normalization.moving_variance, values.var(axis=(0, 1, 2)), rtol=1e-3)


def test_recomputing_statistics_changes_nothing_else() -> None:
    model = _model()
    before = [variable.numpy() for variable in model.trainable_variables]
    recompute_batch_norm(model, _batches())
    for variable, value in zip(model.trainable_variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    assert model.layers[2].momentum == pytest.approx(0.9)


def test_network_without_batch_normalization_is_not_changed() -> None:
    model = networks.build("small_cnn", 32, {"top": 2})
    recompute_batch_norm(model, [])
    assert all(np.isfinite(variable).all() for variable in model.variables)


def test_statistics_can_be_recomputed_for_a_finished_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_fit.write(tmp_path / "data", per_class=20)
    sets = tiny_fit.load(tmp_path / "data")
    plain = fit_network(tiny_fit.network(passes=1), 0, sets, None, tmp_path)
    shapes: list[tuple[int, ...]] = []

    def record_shapes(_model: keras.Model, batches: Iterable[Pixels]) -> None:
        shapes.extend(batch.shape for batch in batches)

    monkeypatch.setattr(trainer, "recompute_batch_norm", record_shapes)
    again = fit_network(tiny_fit.network(passes=1, statistics_batches=2), 0, sets, None, tmp_path)
    assert again.folder == plain.folder, "the fit was repeated instead of resumed after its last step"
    assert shapes == [(20, tiny_fit.SIZE, tiny_fit.SIZE, 3)] * 2


def test_last_history_record_is_measured_with_recomputed_statistics(tmp_path: Path) -> None:
    history = History(tmp_path, None)
    for step in (1, 2):
        history.append(HistoryRecord(step=step, passes=step, learning_rate=0.1, loss={"top": 1.0}))
    better = TopMetrics(images=10, accuracy=0.9, log_loss=0.2)
    history.replace_last_metrics({"top": better}, None)
    reread = History(tmp_path, 2).records
    assert [record.holdout for record in reread] == [None, {"top": better}]
    assert reread[1].loss == {"top": 1.0}
