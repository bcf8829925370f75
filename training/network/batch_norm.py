"""Batch normalization: computed in one operation while fitting, and its statistics recomputed after a fit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from models import networks
from models.arrays import Pixels


class FusedBatchNormalization(keras.layers.BatchNormalization):  # type: ignore[misc]  # Keras has no types
    """Batch normalization over the last axis in one operation, with the weights and names of Keras's layer.

    Keras computes it with seven elementary operations, each of which reads and writes all activations.

    Source: Ioffe and Szegedy, 2015, arXiv:1502.03167.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalize float32 [n, height, width, channels]; other shapes raise TensorFlow's InvalidArgumentError."""
        if not (training and self.trainable):
            return super().call(inputs, training=training, mask=mask)
        offset = self.beta.value
        scale = self.gamma.value if self.scale else tf.ones_like(offset)
        outputs, mean, variance, *_ = tf.compat.v1.nn.fused_batch_norm(
            inputs, scale, offset, epsilon=self.epsilon, is_training=True
        )
        positions = tf.cast(tf.reduce_prod(tf.shape(inputs)[:-1]), tf.float32)
        # The operation returns the unbiased variance, Keras accumulates the biased one.
        for moving, batch in (
            (self.moving_mean, mean),
            (self.moving_variance, variance * (positions - 1.0) / positions),
        ):
            moving.assign(moving * self.momentum + batch * (1.0 - self.momentum))
        return outputs


def with_fused_batch_norm(model: keras.Model) -> keras.Model:
    """Clone a network, newly initialized, with every batch normalization layer replaced by the fused one."""

    def clone(layer: keras.Layer) -> keras.Layer:
        kind = FusedBatchNormalization if type(layer) is keras.layers.BatchNormalization else type(layer)
        return kind.from_config(layer.get_config())

    return keras.models.clone_model(model, clone_function=clone)


def recompute_batch_norm(model: keras.Model, batches: Iterable[Pixels]) -> None:
    """Set mean and variance of every batch normalization layer to those of all batches together.

    During a fit the statistics are a running mean over the last few batches, of changing weights and augmented images.
    If activations have long tails, that mean is far off. The mean over many batches of the final weights is the better
    estimate.

    Args:
        model: from `networks.build`; without batch normalization it is not changed.
        batches: of equal size, as large as those of the fit; uint8 [n, side, side, 3].

    Source: "precise" statistics, section 3 of Wu and Johnson, 2021, arXiv:2105.07576.
    """
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0  # the moving statistics are then those of the last batch alone

    def forward(pixels: tf.Tensor) -> None:
        model(networks.scale(pixels, networks.scaling_of(model.name)), training=True)

    run = tf.function(forward, autograph=False)
    moments_of_layers = [_Moments() for _ in layers]
    for pixels in batches:
        run(tf.constant(pixels))
        for layer, moments in zip(layers, moments_of_layers, strict=True):
            moments.add(layer.moving_mean.numpy(), layer.moving_variance.numpy())
    for layer, moments, momentum in zip(layers, moments_of_layers, momenta, strict=True):
        layer.momentum = momentum
        layer.moving_mean.assign(moments.mean)
        layer.moving_variance.assign(moments.variance)


class _Moments:
    """Mean and variance of values that arrive in batches of equal size."""

    def __init__(self) -> None:
        self._batches = 0
        self._means = self._squares = self._variances = np.zeros((), np.float64)

    def add(self, mean: np.ndarray, variance: np.ndarray) -> None:
        self._batches += 1
        self._means = self._means + mean
        self._squares = self._squares + np.square(mean, dtype=np.float64)
        self._variances = self._variances + variance

    @property
    def mean(self) -> np.ndarray:
        return np.asarray(self._means / self._batches)

    @property
    def variance(self) -> np.ndarray:
        """The variance within the batches plus the variance of their means."""
        return np.asarray((self._variances + self._squares) / self._batches - np.square(self.mean))
