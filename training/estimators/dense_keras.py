"""A head of dense layers, fitted with Keras and kept as arrays."""

from __future__ import annotations

import os

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # has to be set before the first import

import keras
from keras import layers

from models.heads import DenseLayers, Floats, Integers
from training.estimators.heads import Dense
from training.runtime.threads import deterministic_threads
from training.sampling import share_of_each

_WATCHED = 0.1


def fit(parameters: Dense, features: Floats, labels: Integers, seed: int) -> DenseLayers:
    """Fit dense layers with dropout by Adam, until the loss on a tenth of the images falls no more.

    Args:
        parameters: of the network and its fit.
        features: float32 [images, features].
        labels: indices of classes [images].
        seed: of the tenth, random weights, order of images and dropout.

    Returns:
        The layers of the best epoch; the standardisation of the features is folded into the first.
    """
    deterministic_threads(parts=1)
    keras.utils.set_random_seed(seed)
    mean, deviation = features.mean(axis=0), features.std(axis=0) + np.float32(1e-6)
    watched = share_of_each(labels, _WATCHED, np.random.default_rng(seed))
    fitted = np.setdiff1d(np.arange(len(labels)), watched)
    model = network(parameters, features.shape[1], int(labels.max()) + 1)
    model.fit(
        (features[fitted] - mean) / deviation,
        labels[fitted],
        parameters.batch,
        parameters.epochs,
        verbose=0,
        callbacks=[
            keras.callbacks.EarlyStopping(
                "val_loss" if len(watched) else "loss", patience=parameters.patience, restore_best_weights=True
            )
        ],
        validation_data=((features[watched] - mean) / deviation, labels[watched]) if len(watched) else None,
    )
    return with_raw_features(layers_of(model), mean, deviation)


def network(parameters: Dense, features: int, classes: int) -> keras.Model:
    """The network before its fit: ReLU and dropout after each layer, then a softmax."""
    model = keras.Sequential([keras.Input((features,))])
    for units in parameters.units:
        model.add(layers.Dense(units, "relu"))
        model.add(layers.Dropout(parameters.dropout))
    model.add(layers.Dense(classes, "softmax"))
    # Without XLA: compiling takes longer than it saves here.
    model.compile(keras.optimizers.Adam(parameters.learning_rate), "sparse_categorical_crossentropy", jit_compile=False)
    return model


def layers_of(model: keras.Model) -> DenseLayers:
    """The weights of a network's dense layers."""
    weights = [layer.get_weights() for layer in model.layers if isinstance(layer, layers.Dense)]
    return DenseLayers(tuple(kernel for kernel, _ in weights), tuple(bias for _, bias in weights))


def with_raw_features(dense: DenseLayers, mean: Floats, deviation: Floats) -> DenseLayers:
    """The same answers to features that were not standardised."""
    kernel = dense.kernels[0] / deviation[:, None]
    bias = dense.biases[0] - mean @ kernel
    return DenseLayers((kernel, *dense.kernels[1:]), (bias, *dense.biases[1:]))
