"""Networks built in code by name, and the tensors that fill them.

No configuration of a network is ever read from a file: a network is built here and only tensors are loaded
into it. A *top* is a softmax layer on the pooled features; a network may carry several.

TensorFlow and Keras are imported by the functions that need them, so that importing this module is cheap.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from models.errors import WeightsError

if TYPE_CHECKING:
    import keras

Tensors = dict[str, npt.NDArray[Any]]

POOLED = "pooled"

Scaling = Literal["-1..1", "imagenet_mean"]

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


def _vgg19(size: int | None) -> keras.Model:
    """VGG19's convolutions (Simonyan, Zisserman, 2014, arXiv:1409.1556) and two dense layers of our own."""
    import keras
    from keras import layers

    convolutions = keras.applications.VGG19(include_top=False, weights=None, input_shape=(size, size, 3))
    values = layers.Flatten()(convolutions.output)
    values = layers.Dense(1024, activation="relu")(values)
    features = layers.Dense(1024, activation="relu")(layers.Dropout(0.5, name="between")(values))
    return keras.Model(convolutions.input, features, name="vgg19")


_MEAN_BGR = (103.939, 116.779, 123.68)

_TRUNKS: dict[str, Callable[[int | None], keras.Model]] = {
    "inception_v3": _inception_v3,
    "small_cnn": _small_cnn,
    "vgg19": _vgg19,
}

NETWORKS = tuple(_TRUNKS)


def build(
    network: str, size: int, tops: Mapping[str, int], *, dropout: float = 0.0, any_size: bool = False
) -> keras.Model:
    """Build a network with freshly initialised weights.

    Args:
        network: one of `NETWORKS`.
        size: side of the square input, px.
        tops: name -> number of classes; each becomes a softmax on the pooled features. 1: a sigmoid unit instead.
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
        top: keras.layers.Dense(width, "softmax" if width > 1 else "sigmoid", name=top, dtype="float32")(dropped)
        for top, width in tops.items()
    }
    return keras.Model(trunk.input, {POOLED: pooled, **outputs}, name=network)


def scaling(network: str) -> Scaling:
    """What a network wants of its pixels, so that weights fitted elsewhere mean the same here."""
    return "imagenet_mean" if network == "vgg19" else "-1..1"


def scale(pixels: Any, kind: Scaling = "-1..1") -> Any:
    """uint8 0..255 -> what a network takes; part of the graph.

    Args:
        pixels: [n, size, size, 3], red, green, blue.
        kind: float32 -1..1, as InceptionV3 expects; or blue, green, red, each less ImageNet's mean, as VGG19 does
            (Keras's mode "caffe").
    """
    import tensorflow as tf

    values = tf.cast(pixels, tf.float32)
    return values / 127.5 - 1.0 if kind == "-1..1" else values[..., ::-1] - tf.constant(_MEAN_BGR)


def tensors(model: keras.Model) -> Tensors:
    """All weights by their names in a weights file: kernels as float16, all else as float32.

    float16 halves the file; statistics of batch normalisation exceed its range.
    """
    return {
        name: np.asarray(variable.numpy(), dtype=np.float16 if name.endswith("/kernel") else np.float32)
        for name, variable, _ in _named_variables(model)
    }


def as_softmax(tensors: Tensors, top: str) -> Tensors:
    """Kernel and bias of a sigmoid unit, made those of the same softmax: sigmoid(z) is the second of softmax(0, z)."""
    names = (f"{top}/kernel", f"{top}/bias")
    return {name: np.concatenate([np.zeros_like(tensors[name]), tensors[name]], axis=-1) for name in names}


def assign(model: keras.Model, tensors: Mapping[str, npt.NDArray[Any]], *, skip_dense: bool = False) -> None:
    """Load tensors into a model built in code.

    Args:
        model: from `build`.
        tensors: by the names that `tensors` gives; more than are needed do no harm.
        skip_dense: leave dense layers, tops above all, as they are where the tensors have none of their shape.

    Raises:
        WeightsError: a tensor is missing or has another shape.
    """
    for name, variable, is_dense in _named_variables(model):
        value = tensors.get(name)
        fits = value is not None and tuple(value.shape) == tuple(variable.shape)
        if fits:
            variable.assign(np.asarray(value, dtype=np.float32))
        elif not (skip_dense and is_dense):
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


def _named_variables(model: keras.Model) -> Iterator[tuple[str, Any, bool]]:
    """Names `layer/variable`, weights, and whether they are of a dense layer.

    Layers that Keras numbered count from 0 in the order of their creation.
    """
    import keras

    layers = sorted((layer for layer in model.layers if layer.weights), key=_creation)
    counts: Counter[str] = Counter()
    for layer in layers:
        kind, numbered = _creation(layer)[0], _NUMBERED.fullmatch(layer.name)
        prefix = f"{kind}_{counts[kind]}" if numbered else layer.name
        counts[kind] += 1
        for variable in layer.weights:
            yield f"{prefix}/{variable.name}", variable, isinstance(layer, keras.layers.Dense)


def _creation(layer: keras.Layer) -> tuple[str, int]:
    numbered = _NUMBERED.fullmatch(layer.name)
    return (numbered["kind"], int(numbered["number"] or 0)) if numbered else (layer.name, 0)
