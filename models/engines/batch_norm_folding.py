"""Folding of batch normalization into the preceding convolution.

At inference, batch normalization is a scale and a shift per channel. The scale is multiplied into the kernel of the
convolution, and the shift becomes a bias, which TensorFlow fuses with the convolution and its activation.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf


def fold_batch_normalization(model: keras.Model) -> keras.Model:
    """Copy a model for inference, with each batch normalization replaced by a bias.

    Args:
        model: every batch normalization directly follows a convolution without bias.

    Returns:
        Model with the same inputs and outputs, and its own weights.
    """
    folded = keras.models.clone_model(model, clone_function=_clone_layer)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            convolution = layer.input._keras_history.operation
            scale = _scale(layer)
            shift = layer.beta.numpy() - layer.moving_mean.numpy() * scale
            folded.get_layer(convolution.name).set_weights([_scaled_kernel(convolution, scale)])
            folded.get_layer(layer.name).set_weights([shift])
        elif layer.weights and not _is_normalized(layer):
            folded.get_layer(layer.name).set_weights(layer.get_weights())
    return folded


class _Bias(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    def build(self, shape: tuple[int, ...]) -> None:
        self.bias = self.add_weight(shape=shape[-1:], name="bias", initializer="zeros")

    def call(self, inputs: Any, mask: Any = None) -> Any:  # noqa: ARG002 -- Keras passes the replaced layer's arguments
        return tf.nn.bias_add(inputs, self.bias)


def _clone_layer(layer: keras.Layer) -> keras.Layer:
    if isinstance(layer, keras.layers.BatchNormalization):
        return _Bias(name=layer.name)
    return type(layer).from_config(layer.get_config())


def _scale(layer: keras.layers.BatchNormalization) -> np.ndarray[Any, Any]:
    gamma = layer.gamma.numpy() if layer.scale else 1.0
    scale: np.ndarray[Any, Any] = gamma / np.sqrt(layer.moving_variance.numpy() + layer.epsilon)
    return scale


def _scaled_kernel(convolution: keras.Layer, scale: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Multiply the part of the kernel that makes each output channel by the scale of that channel."""
    kernel: np.ndarray[Any, Any] = convolution.kernel.numpy()
    if isinstance(convolution, keras.layers.DepthwiseConv2D):  # [height, width, channels, outputs of each channel]
        scale = scale.reshape(kernel.shape[2:])
    scaled: np.ndarray[Any, Any] = kernel * scale
    return scaled


def _is_normalized(layer: keras.Layer) -> bool:
    followers = [node.operation for node in layer._outbound_nodes]
    return any(isinstance(follower, keras.layers.BatchNormalization) for follower in followers)
