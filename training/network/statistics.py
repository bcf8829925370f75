"""The statistics of batch normalisation, taken anew from many batches once a network is fitted.

While it is fitted they are a running mean over the last few batches, of weights that still change and of images that
are varied. Where activations have long tails such a mean is far off, and single images leave the range that the network
knows. The mean over many batches of the final weights is the better estimate: "precise" statistics, section 3 of
Wu, Johnson, 2021, arXiv:2105.07576.
"""

from __future__ import annotations

from collections.abc import Iterable

import keras
import numpy as np
import tensorflow as tf

from models import networks
from models.arrays import Pixels


def recompute_batch_norm(model: keras.Model, batches: Iterable[Pixels]) -> None:
    """Set mean and variance of every batch normalisation to those of all batches together.

    Args:
        model: from `networks.build`; one without batch normalisation stays as it is.
        batches: of equal size, as large as those that it was fitted with; uint8 [n, side, side, 3].
    """
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0  # what it keeps is then the last batch's
    run = tf.function(lambda pixels: model(networks.scale(pixels, networks.scaling(model.name)), training=True))
    kept = [_Moments() for _ in layers]
    for pixels in batches:
        run(tf.constant(pixels))
        for layer, moments in zip(layers, kept, strict=True):
            moments.add(layer.moving_mean.numpy(), layer.moving_variance.numpy())
    for layer, moments, momentum in zip(layers, kept, momenta, strict=True):
        layer.momentum = momentum
        layer.moving_mean.assign(moments.mean)
        layer.moving_variance.assign(moments.variance)


class _Moments:
    """Mean and variance of values that come in batches of equal size."""

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
        """That within the batches, and that of their means."""
        return np.asarray((self._variances + self._squares) / self._batches - np.square(self.mean))
