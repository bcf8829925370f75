"""Training steps and evaluation of a network: optimizers, losses, freezing, checkpointed state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from models import networks
from tests.support import tiny_fit
from training.network.checkpoints import Checkpoints
from training.network.images.batches import Examples, TrainingBatch
from training.network.trainer import Trainer
from training.recipes.network import EarlyStopping, Fit, Network, ProgressiveResizing

_TOPS = {"colours": 3, "stripes": 2}


def _make_trainer(steps: int = 40, seed: int = 1, **settings: object) -> Trainer:
    network = tiny_fit.network(**settings)
    assert network.fit is not None
    return Trainer(network, network.fit, _TOPS, seed, None, steps)


def _batch(seed: int = 0) -> TrainingBatch:
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (20, tiny_fit.SIZE, tiny_fit.SIZE, 3), dtype=np.uint8)
    return TrainingBatch(pixels, (random.integers(0, 3, 12), random.integers(0, 2, 8)))


def test_learning_rate_warms_up_linearly_and_decays_on_a_cosine() -> None:
    trainer = _make_trainer(steps=13, warmup_steps=4, learning_rate=0.01)
    rates = []
    for _ in range(13):
        rates.append(trainer.learning_rate)
        trainer.train_step(_batch())
    np.testing.assert_allclose(rates[:5], [0, 0.0025, 0.005, 0.0075, 0.01], atol=1e-6)
    np.testing.assert_allclose(rates[7], 0.01 * (1 + np.cos(np.pi * 3 / 9)) / 2, rtol=1e-5)
    assert trainer.learning_rate == pytest.approx(0, abs=1e-8)


def test_fit_shorter_than_its_warm_up_reaches_the_learning_rate() -> None:
    trainer = _make_trainer(steps=4, warmup_steps=200, learning_rate=0.01)
    trainer.train_step(_batch())
    trainer.train_step(_batch())
    assert trainer.learning_rate == pytest.approx(0.01)


def test_trainer_can_memorise_one_batch() -> None:
    trainer = _make_trainer(steps=60, dropout=0.0, label_smoothing=0.0, warmup_steps=0)
    losses = [trainer.train_step(_batch()).losses for _ in range(60)]
    assert losses[-1]["colours"] < 0.3 * losses[0]["colours"]
    assert losses[-1]["stripes"] < 0.3 * losses[0]["stripes"]
    batch = _batch()
    chunks = [Examples(batch.pixels[part], batch.labels[0][part]) for part in (slice(0, 5), slice(5, 12))]
    measured, by_teacher = trainer.evaluate(tiny_fit.network().tasks[0], chunks)
    assert measured is not None
    assert by_teacher is None
    assert measured.images == 12
    assert measured.accuracy > 0.9
    assert measured.log_loss < 0.5


def test_loss_is_the_smoothed_cross_entropy_of_each_task() -> None:
    trainer = _make_trainer(dropout=0.0, label_smoothing=0.2, learning_rate=1e-9)
    batch = _batch()
    outputs = trainer._predict(batch.pixels)
    losses = trainer.train_step(batch).losses
    for top, rows, labels in zip(_TOPS, (slice(0, 12), slice(12, 20)), batch.labels, strict=True):
        targets = np.eye(_TOPS[top])[labels] * 0.8 + 0.2 / _TOPS[top]
        expected = -(targets * np.log(outputs[top].numpy()[rows])).sum(axis=1).mean()
        assert losses[top] == pytest.approx(expected, rel=1e-4)


def test_batch_in_parts_takes_the_same_step_as_the_whole_batch() -> None:
    # Without batch normalization and dropout, they differ only in the order of sums.
    settings: dict[str, Any] = {"dropout": 0.0, "warmup_steps": 0, "clip_norm": 1e-3, "learning_rate": 0.01}
    whole, halved, unfitted = (_make_trainer(**settings, parts=parts) for parts in (1, 2, 1))
    losses = [(whole.train_step(_batch(step)).losses, halved.train_step(_batch(step)).losses) for step in range(3)]
    for of_whole, of_halved in losses:
        assert of_halved == pytest.approx(of_whole, rel=1e-4)
    after, before = whole.export_tensors(), unfitted.export_tensors()
    for name, value in halved.export_tensors().items():
        np.testing.assert_allclose(value, after[name], atol=2e-3)
        assert not np.allclose(value, before[name], atol=2e-3), f"{name} was not fitted"


def test_weight_decay_applies_to_kernels_and_not_to_biases() -> None:
    trainer = _make_trainer(weight_decay=0.5)
    decays = {
        variable.path: trainer._optimizer._use_weight_decay(variable) for variable in trainer._model.trainable_variables
    }
    assert {path.rpartition("/")[2]: decay for path, decay in decays.items()} == {"kernel": True, "bias": False}


def test_batch_normalization_has_the_recipe_momentum_and_no_decay() -> None:
    network = tiny_fit.network().model_copy(update={"architecture": "inception_v3", "size": 75})
    fit = Fit(passes=1, learning_rate=0.1, batch_norm_momentum=0.9)
    trainer = Trainer(network, fit, _TOPS, 0, None, 10)
    normalizations = [layer for layer in trainer._model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert len(normalizations) == 94
    assert {layer.momentum for layer in normalizations} == {0.9}
    assert not any(trainer._optimizer._use_weight_decay(layer.beta) for layer in normalizations)


def test_checkpoint_contains_the_whole_state_including_dropout(tmp_path: Path) -> None:
    trainer = _make_trainer(dropout=0.5)
    for step in range(3):
        trainer.train_step(_batch(step))
    Checkpoints(tmp_path, trainer.variables).save(3)
    expected = [trainer.train_step(_batch(step)) for step in range(3, 6)]

    other = _make_trainer(dropout=0.5, seed=99)
    assert Checkpoints(tmp_path, other.variables).restore()
    assert other.steps_done == 3
    assert [other.train_step(_batch(step)) for step in range(3, 6)] == expected


def test_seed_determines_the_random_weights() -> None:
    first, again, other = (_make_trainer(seed=seed).export_tensors() for seed in (1, 1, 2))
    np.testing.assert_array_equal(first["dense_0/kernel"], again["dense_0/kernel"])
    assert not np.array_equal(first["dense_0/kernel"], other["dense_0/kernel"])


def _normalized(size: int | None) -> keras.Model:
    """Starts like InceptionV3, whose graph of one step takes half a minute to build."""
    pixels = values = keras.Input((size, size, 3))
    for _ in range(4):
        values = keras.layers.Conv2D(8, 3, strides=2, use_bias=False)(values)
        values = keras.layers.BatchNormalization(scale=False)(values)
        values = keras.layers.Activation("relu")(values)
    return keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(values))


def test_frozen_layers_keep_weights_but_update_batch_statistics(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(networks._BUILDERS, "normalized", _normalized)
    network = tiny_fit.network().model_copy(update={"architecture": "normalized", "size": 75})
    fit = Fit(
        passes=1, learning_rate=0.01, warmup_steps=0, frozen_layers=6, early=ProgressiveResizing(size=80, share=0.5)
    )
    trainer = Trainer(network, fit, _TOPS, 0, None, 10)
    before = trainer.export_tensors()
    pixels = np.random.default_rng(0).integers(0, 256, (20, 80, 80, 3), dtype=np.uint8)
    trainer.train_step(TrainingBatch(pixels, _batch().labels))
    after = trainer.export_tensors()
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


def _stripes() -> TrainingBatch:
    batch = _batch()
    return TrainingBatch(batch.pixels[12:], batch.labels[1:])


def _of(network: Network, **settings: object) -> Trainer:
    assert network.fit is not None
    return Trainer(network, network.fit.model_copy(update=settings), {"stripes": 2}, 1, None, 40)


def test_constant_learning_rate_does_not_change() -> None:
    trainer = _of(_one_task())
    for _ in range(3):
        trainer.train_step(_stripes())
        assert trainer.learning_rate == pytest.approx(0.01)


def test_sgd_follows_the_gradient_with_momentum() -> None:
    trainer = _of(_one_task())
    bias = trainer._model.get_layer("stripes").bias
    steps, gradients = [], []
    for _ in range(2):
        before = bias.numpy()
        with tf.GradientTape() as tape:
            outputs = trainer._model(networks.scale(_stripes().pixels), training=True)
            loss = tf.reduce_mean(-tf.math.log(tf.gather(outputs["stripes"], _stripes().labels[0], batch_dims=1)))
        gradients.append(tape.gradient(loss, bias.value).numpy())
        trainer.train_step(_stripes())
        steps.append(bias.numpy() - before)
    np.testing.assert_allclose(steps[0], -0.01 * gradients[0], rtol=1e-3, atol=1e-7)
    np.testing.assert_allclose(steps[1], 0.5 * steps[0] - 0.01 * gradients[1], rtol=1e-3, atol=1e-7)


def test_adam_has_no_weight_decay() -> None:
    optimizer = _of(_one_task(), optimizer="adam", beta_2=0.999)._optimizer
    assert (type(optimizer), optimizer.weight_decay, optimizer.beta_2) == (keras.optimizers.Adam, None, 0.999)
    assert optimizer.global_clipnorm is None


def test_l2_penalty_applies_to_dense_kernels_below_the_top() -> None:
    plain, penalized = (_of(_one_task(), momentum=0.0, l2=l2) for l2 in (0.0, 0.5))
    before = {weight.path: weight.numpy() for weight in plain._model.weights}
    for trainer in (plain, penalized):
        trainer.train_step(_stripes())
    for weight, other in zip(plain._model.weights, penalized._model.weights, strict=True):
        decayed = 0.01 * 2 * 0.5 * before[weight.path] if weight.path.startswith("dense") and weight.ndim == 2 else 0
        np.testing.assert_allclose(other.numpy(), weight.numpy() - decayed, atol=1e-6)


def test_sigmoid_unit_uses_binary_cross_entropy_and_is_stored_as_softmax() -> None:
    trainer = _of(_one_task(sigmoid=True))
    batch = _stripes()
    second = trainer._model(networks.scale(batch.pixels), training=False)["stripes"].numpy()[:, 0]
    expected = -np.log(np.where(batch.labels[0] == 1, second, 1 - second)).mean()
    assert trainer.train_step(batch).losses["stripes"] == pytest.approx(expected, rel=1e-4)
    second = trainer._predict(batch.pixels)["stripes"].numpy()[:, 1]

    served = networks.build("small_cnn", tiny_fit.SIZE, {"stripes": 2})
    networks.set_tensors(served, trainer.export_tensors())
    answers = served(networks.scale(batch.pixels), training=False)["stripes"].numpy()
    np.testing.assert_allclose(answers[:, 1], second, atol=2e-3)
    np.testing.assert_allclose(answers.sum(axis=1), 1, rtol=1e-6)


def test_kept_weights_can_be_restored_and_are_in_the_checkpoint(tmp_path: Path) -> None:
    trainer, other = (_of(_one_task(), stop=EarlyStopping(measure="accuracy", patience=1)) for _ in range(2))
    trainer.train_step(_stripes())
    trainer.keep_weights()
    kept = trainer.export_tensors()
    trainer.train_step(_stripes())
    Checkpoints(tmp_path, trainer.variables).save(2)
    assert Checkpoints(tmp_path, other.variables).restore()
    assert not np.array_equal(other.export_tensors()["stripes/bias"], kept["stripes/bias"])
    other.restore_kept_weights()
    for name, value in other.export_tensors().items():
        np.testing.assert_array_equal(value, kept[name])


def test_first_five_layers_of_vgg19_are_frozen_as_keras_counts() -> None:
    trainer = _of(_one_task().model_copy(update={"architecture": "vgg19"}), frozen_layers=5)
    frozen = [layer.name for layer in trainer._model.layers if layer.weights and not layer.trainable_variables]
    assert frozen == ["block1_conv1", "block1_conv2", "block2_conv1"]
