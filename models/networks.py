"""Networks built in code by name, and the tensors that fill them.

No configuration of a network is ever read from a file: a network is built here and only tensors are loaded
into it. A *top* is a softmax layer on the pooled features; a network may carry several.

TensorFlow and Keras are imported by the functions that need them, so that importing this module is cheap.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from models.errors import WeightsError

if TYPE_CHECKING:
    import keras

Tensors = dict[str, npt.NDArray[Any]]

POOLED = "pooled"

#: Names that Keras gives to layers without one; its numbers go on counting within a process.
_NUMBERED = re.compile(r"(?P<kind>conv2d|batch_normalization|dense)(?:_(?P<number>\d+))?")


def _inception_v3(size: int | None) -> keras.Model:
    """InceptionV3 without its top (Szegedy et al., 2015, arXiv:1512.00567)."""
    import keras

    return keras.applications.InceptionV3(
        include_top=False, weights=None, pooling="avg", input_shape=(size, size, 3), name="inception_v3"
    )


def _small_cnn(size: int | None) -> keras.Model:
    """Three convolutions and one dense layer (Chollet, 2016, "Building powerful image classification models")."""
    import keras
    from keras import layers

    pixels = keras.Input((size, size, 3))
    values = pixels
    for filters in (32, 32, 64):
        values = layers.Conv2D(filters, 3, activation="relu")(values)
        values = layers.MaxPooling2D(2)(values)
    features = layers.Dense(64, activation="relu")(layers.Flatten()(values))
    return keras.Model(pixels, features, name="small_cnn")


_TRUNKS: dict[str, Callable[[int | None], keras.Model]] = {"inception_v3": _inception_v3, "small_cnn": _small_cnn}

NETWORKS = tuple(_TRUNKS)


def build(
    network: str, size: int, tops: Mapping[str, int], *, dropout: float = 0.0, any_size: bool = False
) -> keras.Model:
    """Build a network with freshly initialised weights.

    Args:
        network: one of `NETWORKS`.
        size: side of the square input, px.
        tops: name -> number of classes; each becomes a softmax on the pooled features.
        dropout: share of the pooled features dropped before the tops, in fitting only.
        any_size: take images of other sizes too; only for networks that pool over all places.

    Returns:
        Model: float32 [n, size, size, 3] in -1..1 -> {`pooled`: [n, features], each top: [n, classes]}.

    Raises:
        WeightsError: no network has that name, or not at that size.
    """
    import keras

    if network not in _TRUNKS:
        raise WeightsError(f"There is no network {network!r}. There is: {', '.join(NETWORKS)}.")
    try:
        trunk = _TRUNKS[network](None if any_size else size)
    except ValueError as error:
        raise WeightsError(f"{network} cannot be built for {size} px: {error}") from error
    pooled = trunk.output
    dropped = keras.layers.Dropout(dropout, name="dropout")(pooled) if dropout else pooled
    outputs = {
        top: keras.layers.Dense(width, "softmax", name=top, dtype="float32")(dropped) for top, width in tops.items()
    }
    return keras.Model(trunk.input, {POOLED: pooled, **outputs}, name=network)


def scale(pixels: Any) -> Any:
    """uint8 0..255 -> float32 -1..1, as InceptionV3 expects; part of the graph."""
    import tensorflow as tf

    return tf.cast(pixels, tf.float32) / 127.5 - 1.0


def tensors(model: keras.Model) -> Tensors:
    """All weights by their names in a weights file: kernels as float16, all else as float32.

    float16 halves the file; statistics of batch normalisation exceed its range.
    """
    return {
        name: np.asarray(variable.numpy(), dtype=np.float16 if name.endswith("/kernel") else np.float32)
        for name, variable in _variables(model).items()
    }


def assign(model: keras.Model, tensors: Mapping[str, npt.NDArray[Any]], *, skip_tops: bool = False) -> None:
    """Load tensors into a model built in code.

    Args:
        model: from `build`.
        tensors: by the names that `tensors` gives; more than are needed do no harm.
        skip_tops: leave softmax layers as they are where the tensors have none of their shape.

    Raises:
        WeightsError: a tensor is missing or has another shape.
    """
    for name, variable in _variables(model).items():
        value = tensors.get(name)
        fits = value is not None and tuple(value.shape) == tuple(variable.shape)
        if fits:
            variable.assign(np.asarray(value, dtype=np.float32))
        elif not (skip_tops and name.partition("/")[0] in model.output_names):
            found = "missing" if value is None else f"of shape {tuple(value.shape)}"
            raise WeightsError(
                f"These weights are not of {model.name}: {name} is {found}, expected {tuple(variable.shape)}."
            )


def to_bytes(tensors: Tensors) -> bytes:
    """Tensors as the bytes of a safetensors file."""
    return safetensors.save({name: np.ascontiguousarray(value) for name, value in tensors.items()})


def from_bytes(data: bytes) -> Tensors:
    """Tensors of a safetensors file; raises WeightsError."""
    try:
        return safetensors.load(data)
    except (SafetensorError, KeyError, ValueError) as error:  # KeyError: a type of number that NumPy has not
        raise WeightsError(f"The weights are no safetensors file that can be read ({error}).") from error


def _variables(model: keras.Model) -> dict[str, Any]:
    """Weights by `layer/variable`; layers that Keras numbered count from 0 in the order of their creation."""
    layers = sorted((layer for layer in model.layers if layer.weights), key=_creation)
    counts: Counter[str] = Counter()
    variables: dict[str, Any] = {}
    for layer in layers:
        kind, numbered = _creation(layer)[0], _NUMBERED.fullmatch(layer.name)
        prefix = f"{kind}_{counts[kind]}" if numbered else layer.name
        counts[kind] += 1
        variables |= {f"{prefix}/{variable.name}": variable for variable in layer.weights}
    return variables


def _creation(layer: keras.Layer) -> tuple[str, int]:
    numbered = _NUMBERED.fullmatch(layer.name)
    return (numbered["kind"], int(numbered["number"] or 0)) if numbered else (layer.name, 0)
