from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from models import networks
from tests.support import tiny_fit
from training.network.batches import Batch
from training.network.checkpoints import Checkpoints
from training.network.early_stopping import EarlyStopping
from training.network.trainer import Trainer
from training.recipes.schema import Early, Fit, Network

_TOPS = {"colours": 3, "stripes": 2}


def _learner(steps: int = 40, seed: int = 1, **settings: object) -> Trainer:
    network = tiny_fit.network(**settings)
    assert network.fit is not None
    return Trainer(network, network.fit, _TOPS, seed, None, steps)


def _batch(seed: int = 0) -> Batch:
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (20, tiny_fit.SIZE, tiny_fit.SIZE, 3), dtype=np.uint8)
    return Batch(pixels, (random.integers(0, 3, 12), random.integers(0, 2, 8)))


def test_the_rate_climbs_in_a_line_and_falls_to_nothing_on_a_cosine() -> None:
    learner = _learner(steps=13, warmup_steps=4, learning_rate=0.01)
    rates = []
    for _ in range(13):
        rates.append(learner.learning_rate)
        learner.fit(_batch())
    np.testing.assert_allclose(rates[:5], [0, 0.0025, 0.005, 0.0075, 0.01], atol=1e-6)
    np.testing.assert_allclose(rates[7], 0.01 * (1 + np.cos(np.pi * 3 / 9)) / 2, rtol=1e-5)
    assert learner.learning_rate == pytest.approx(0, abs=1e-8)


def test_a_fit_shorter_than_its_warm_up_still_reaches_its_rate() -> None:
    learner = _learner(steps=4, warmup_steps=200, learning_rate=0.01)
    learner.fit(_batch())
    learner.fit(_batch())
    assert learner.learning_rate == pytest.approx(0.01)


def test_it_learns_a_batch_by_heart() -> None:
    learner = _learner(steps=60, dropout=0.0, label_smoothing=0.0, warmup_steps=0)
    losses = [learner.fit(_batch()) for _ in range(60)]
    assert losses[-1]["colours"] < 0.3 * losses[0]["colours"]
    assert losses[-1]["stripes"] < 0.3 * losses[0]["stripes"]
    batch = _batch()
    measured = learner.measure(
        "colours", [(batch.pixels[:5], batch.labels[0][:5]), (batch.pixels[5:12], batch.labels[0][5:])]
    )
    assert measured.images == 12
    assert measured.accuracy > 0.9
    assert measured.log_loss < 0.5


def test_the_loss_is_the_smoothed_cross_entropy_of_the_rows_of_each_task() -> None:
    learner = _learner(dropout=0.0, label_smoothing=0.2, learning_rate=1e-9)
    batch = _batch()
    outputs = learner._predict(batch.pixels)
    losses = learner.fit(batch)
    for top, rows, labels in zip(_TOPS, (slice(0, 12), slice(12, 20)), batch.labels, strict=True):
        targets = np.eye(_TOPS[top])[labels] * 0.8 + 0.2 / _TOPS[top]
        expected = -(targets * np.log(outputs[top].numpy()[rows])).sum(axis=1).mean()
        assert losses[top] == pytest.approx(expected, rel=1e-4)


def test_a_batch_in_parts_takes_the_step_of_the_whole_batch() -> None:
    # Without batch normalisation and dropout, nothing but the order of sums tells them apart.
    whole, halved, unfitted = (
        _learner(dropout=0.0, warmup_steps=0, clip_norm=1e-3, learning_rate=0.01, parts=parts) for parts in (1, 2, 1)
    )
    losses = [(whole.fit(_batch(step)), halved.fit(_batch(step))) for step in range(3)]
    for of_whole, of_halved in losses:
        assert of_halved == pytest.approx(of_whole, rel=1e-4)
    after, before = whole.tensors(), unfitted.tensors()
    for name, value in halved.tensors().items():
        np.testing.assert_allclose(value, after[name], atol=2e-3)
        assert not np.allclose(value, before[name], atol=2e-3), f"{name} was not fitted"


def test_weights_decay_but_not_biases() -> None:
    learner = _learner(weight_decay=0.5)
    decays = {
        variable.path: learner._optimizer._use_weight_decay(variable) for variable in learner._model.trainable_variables
    }
    assert {path.rpartition("/")[2]: decay for path, decay in decays.items()} == {"kernel": True, "bias": False}


def test_batch_normalisation_takes_the_recipes_momentum_and_does_not_decay() -> None:
    network = tiny_fit.network().model_copy(update={"architecture": "inception_v3", "size": 75})
    fit = Fit(passes=1, learning_rate=0.1, batch_norm_momentum=0.9)
    learner = Trainer(network, fit, _TOPS, 0, None, 10)
    normalizations = [layer for layer in learner._model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert len(normalizations) == 94
    assert {layer.momentum for layer in normalizations} == {0.9}
    assert not any(learner._optimizer._use_weight_decay(layer.beta) for layer in normalizations)


def test_a_checkpoint_holds_the_whole_state_dropout_too(tmp_path: Path) -> None:
    learner = _learner(dropout=0.5)
    for step in range(3):
        learner.fit(_batch(step))
    Checkpoints(tmp_path, learner.variables).save(3)
    expected = [learner.fit(_batch(step)) for step in range(3, 6)]

    other = _learner(dropout=0.5, seed=99)
    assert Checkpoints(tmp_path, other.variables).restore()
    assert other.step == 3
    assert [other.fit(_batch(step)) for step in range(3, 6)] == expected


def test_the_seed_decides_the_random_weights() -> None:
    first, again, other = (_learner(seed=seed).tensors() for seed in (1, 1, 2))
    np.testing.assert_array_equal(first["dense_0/kernel"], again["dense_0/kernel"])
    assert not np.array_equal(first["dense_0/kernel"], other["dense_0/kernel"])


def _normalised(size: int | None) -> keras.Model:
    """Begins as InceptionV3 does, of which it takes half a minute to make the graph of a step."""
    pixels = values = keras.Input((size, size, 3))
    for _ in range(4):
        values = keras.layers.Conv2D(8, 3, strides=2, use_bias=False)(values)
        values = keras.layers.BatchNormalization(scale=False)(values)
        values = keras.layers.Activation("relu")(values)
    return keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(values))


def test_frozen_layers_keep_their_weights_but_follow_the_statistics_of_their_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(networks._TRUNKS, "normalised", _normalised)
    network = tiny_fit.network().model_copy(update={"architecture": "normalised", "size": 75})
    fit = Fit(passes=1, learning_rate=0.01, warmup_steps=0, frozen_layers=6, early=Early(size=80, share=0.5))
    learner = Trainer(network, fit, _TOPS, 0, None, 10)
    before = learner.tensors()
    pixels = np.random.default_rng(0).integers(0, 256, (20, 80, 80, 3), dtype=np.uint8)
    learner.fit(Batch(pixels, _batch().labels))
    after = learner.tensors()
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    kept = {f"{layer}_{number}/{name}" for number in (0, 1) for layer, name in _WEIGHTS}
    assert not changed & kept
    assert {"batch_normalization_0/moving_mean", "batch_normalization_1/moving_variance"} <= changed
    assert {"conv2d_2/kernel", "conv2d_3/kernel", "colours/kernel"} <= changed


_WEIGHTS = (("conv2d", "kernel"), ("batch_normalization", "beta"))


def _one_task(**task: object) -> Network:
    (_, stripes) = tiny_fit.network().tasks
    settings = {"learning_rate": 0.01, "rate": "constant", "warmup_steps": 0, "clip_norm": 0, "dropout": 0.0}
    fit = Fit.model_validate({"passes": 1, "label_smoothing": 0, "optimizer": "sgd", "momentum": 0.5} | settings)
    return tiny_fit.network().model_copy(
        update={"tasks": (stripes.model_copy(update={"loss_weight": 1.0, **task}),), "fit": fit}
    )


def _stripes() -> Batch:
    batch = _batch()
    return Batch(batch.pixels[12:], batch.labels[1:])


def _of(network: Network, **settings: object) -> Trainer:
    assert network.fit is not None
    return Trainer(network, network.fit.model_copy(update=settings), {"stripes": 2}, 1, None, 40)


def test_a_constant_rate_stays() -> None:
    learner = _of(_one_task())
    for _ in range(3):
        learner.fit(_stripes())
        assert learner.learning_rate == pytest.approx(0.01)


def test_sgd_goes_down_the_gradient_and_remembers_where_it_came_from() -> None:
    learner = _of(_one_task())
    bias = learner._model.get_layer("stripes").bias
    steps, gradients = [], []
    for _ in range(2):
        before = bias.numpy()
        with tf.GradientTape() as tape:
            outputs = learner._model(networks.scale(_stripes().pixels), training=True)
            loss = tf.reduce_mean(-tf.math.log(tf.gather(outputs["stripes"], _stripes().labels[0], batch_dims=1)))
        gradients.append(tape.gradient(loss, bias.value).numpy())
        learner.fit(_stripes())
        steps.append(bias.numpy() - before)
    np.testing.assert_allclose(steps[0], -0.01 * gradients[0], rtol=1e-3, atol=1e-7)
    np.testing.assert_allclose(steps[1], 0.5 * steps[0] - 0.01 * gradients[1], rtol=1e-3, atol=1e-7)


def test_adam_decays_nothing() -> None:
    optimizer = _of(_one_task(), optimizer="adam", beta_2=0.999)._optimizer
    assert (type(optimizer), optimizer.weight_decay, optimizer.beta_2) == (keras.optimizers.Adam, None, 0.999)
    assert optimizer.global_clipnorm is None


def test_the_l2_penalty_is_on_the_kernels_of_dense_layers_below_the_top() -> None:
    plain, penalised = (_of(_one_task(), momentum=0.0, l2=l2) for l2 in (0.0, 0.5))
    before = {weight.path: weight.numpy() for weight in plain._model.weights}
    for learner in (plain, penalised):
        learner.fit(_stripes())
    for weight, other in zip(plain._model.weights, penalised._model.weights, strict=True):
        decayed = 0.01 * 2 * 0.5 * before[weight.path] if weight.path.startswith("dense") and weight.ndim == 2 else 0
        np.testing.assert_allclose(other.numpy(), weight.numpy() - decayed, atol=1e-6)


def test_a_sigmoid_unit_is_fitted_by_the_binary_cross_entropy_and_stored_as_a_softmax() -> None:
    learner = _of(_one_task(sigmoid=True))
    batch = _stripes()
    second = learner._model(networks.scale(batch.pixels), training=False)["stripes"].numpy()[:, 0]
    expected = -np.log(np.where(batch.labels[0] == 1, second, 1 - second)).mean()
    assert learner.fit(batch)["stripes"] == pytest.approx(expected, rel=1e-4)
    second = learner._predict(batch.pixels)["stripes"].numpy()[:, 1]

    served = networks.build("small_cnn", tiny_fit.SIZE, {"stripes": 2})
    networks.assign(served, learner.tensors())
    answers = served(networks.scale(batch.pixels), training=False)["stripes"].numpy()
    np.testing.assert_allclose(answers[:, 1], second, atol=2e-3)
    np.testing.assert_allclose(answers.sum(axis=1), 1, rtol=1e-6)


def test_what_was_kept_comes_back_and_travels_with_the_checkpoint(tmp_path: Path) -> None:
    learner, other = (_of(_one_task(), stop=EarlyStopping(measure="accuracy", patience=1)) for _ in range(2))
    learner.fit(_stripes())
    learner.keep()
    kept = learner.tensors()
    learner.fit(_stripes())
    Checkpoints(tmp_path, learner.variables).save(2)
    assert Checkpoints(tmp_path, other.variables).restore()
    assert not np.array_equal(other.tensors()["stripes/bias"], kept["stripes/bias"])
    other.take_kept()
    for name, value in other.tensors().items():
        np.testing.assert_array_equal(value, kept[name])


def test_the_first_five_layers_of_vgg19_are_frozen_as_keras_counts_them() -> None:
    learner = _of(_one_task().model_copy(update={"architecture": "vgg19"}), frozen_layers=5)
    frozen = [layer.name for layer in learner._model.layers if layer.weights and not layer.trainable_variables]
    assert frozen == ["block1_conv1", "block1_conv2", "block2_conv1"]
