"""Batch normalisation as one operation while a network is fitted.

Keras computes it from seven elementary ones, each of which reads and writes all activations.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


class FusedBatchNormalization(keras.layers.BatchNormalization):  # type: ignore[misc]  # Keras has no types
    """Batch normalisation over the last axis (Ioffe, Szegedy, 2015, arXiv:1502.03167); the same weights and names."""

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """float32 [n, height, width, channels] -> the same; other shapes raise TensorFlow's InvalidArgumentError."""
        if not (training and self.trainable):
            return super().call(inputs, training=training, mask=mask)
        offset = self.beta.value
        scale = self.gamma.value if self.scale else tf.ones_like(offset)
        outputs, mean, variance, *_ = tf.compat.v1.nn.fused_batch_norm(
            inputs, scale, offset, epsilon=self.epsilon, is_training=True
        )
        places = tf.cast(tf.reduce_prod(tf.shape(inputs)[:-1]), tf.float32)
        # The operation gives the unbiased estimate, Keras keeps the biased one.
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance * (places - 1.0) / places)):
            moving.assign(moving * self.momentum + batch * (1.0 - self.momentum))
        return outputs


def with_fused_normalization(model: keras.Model) -> keras.Model:
    """The same network, newly initialised, with every batch normalisation in one operation."""

    def clone(layer: keras.Layer) -> keras.Layer:
        kind = FusedBatchNormalization if type(layer) is keras.layers.BatchNormalization else type(layer)
        return kind.from_config(layer.get_config())

    return keras.models.clone_model(model, clone_function=clone)
