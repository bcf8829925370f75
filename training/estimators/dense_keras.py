"""Fits a head of dense layers with Keras and keeps only its arrays."""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # has to be set before TensorFlow is first imported

import keras
from keras import layers

from models.arrays import Floats, Integers
from models.heads import DenseLayers
from training.estimators.standardization import mean_and_deviation
from training.runtime.tensorflow import set_deterministic_threads
from training.sampling import sample_per_class

#: Share of the images whose loss decides when the fit ends.
_VALIDATION_SHARE = 0.1


class DenseSettings(NamedTuple):
    """Layers and optimizer of a dense head."""

    units: tuple[int, ...]
    dropout: float
    learning_rate: float
    batch_size: int
    max_epochs: int
    patience: int


def fit_dense(settings: DenseSettings, features: Floats, labels: Integers, seed: int) -> DenseLayers:
    """Fit dense layers with Adam, dropout and early stopping on the loss of a tenth of the images.

    Args:
        settings: of the network and its fit.
        features: float32 [images, features].
        labels: class indices [images].
        seed: for the validation tenth, the initial weights, the order of images and dropout.

    Returns:
        The layers of the best epoch; the standardization of the features is folded into the first.
    """
    set_deterministic_threads(parts=1)
    keras.utils.set_random_seed(seed)
    mean, deviation = mean_and_deviation(features)
    validation = sample_per_class(labels, _VALIDATION_SHARE, np.random.default_rng(seed))
    fitted = np.setdiff1d(np.arange(len(labels)), validation)
    model = build(settings, features.shape[1], int(labels.max()) + 1)
    model.fit(
        (features[fitted] - mean) / deviation,
        labels[fitted],
        settings.batch_size,
        settings.max_epochs,
        verbose=0,
        callbacks=[
            keras.callbacks.EarlyStopping(
                "val_loss" if len(validation) else "loss", patience=settings.patience, restore_best_weights=True
            )
        ],
        validation_data=((features[validation] - mean) / deviation, labels[validation]) if len(validation) else None,
    )
    return with_raw_features(layers_of(model), mean, deviation)


def build(settings: DenseSettings, features: int, classes: int) -> keras.Model:
    """Build the network before its fit: ReLU and dropout after each hidden layer, then a softmax."""
    model = keras.Sequential([keras.Input((features,))])
    for units in settings.units:
        model.add(layers.Dense(units, "relu"))
        model.add(layers.Dropout(settings.dropout))
    model.add(layers.Dense(classes, "softmax"))
    # Without XLA: for networks this small, compiling takes longer than it saves.
    model.compile(keras.optimizers.Adam(settings.learning_rate), "sparse_categorical_crossentropy", jit_compile=False)
    return model


def layers_of(model: keras.Model) -> DenseLayers:
    """Return the weights of a network's dense layers."""
    weights = [layer.get_weights() for layer in model.layers if isinstance(layer, layers.Dense)]
    return DenseLayers(tuple(kernel for kernel, _ in weights), tuple(bias for _, bias in weights))


def with_raw_features(dense: DenseLayers, mean: Floats, deviation: Floats) -> DenseLayers:
    """Fold the standardization into the first layer, so that the network takes raw features."""
    kernel = dense.kernels[0] / deviation[:, None]
    bias = dense.biases[0] - mean @ kernel
    return DenseLayers((kernel, *dense.kernels[1:]), (bias, *dense.biases[1:]))
