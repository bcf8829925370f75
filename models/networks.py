"""Network architectures by name, and their weights.

A network is always built by this module; no configuration is loaded from a file, only tensors are. A *top* is a softmax
layer on the pooled features; a network may have several.

TensorFlow and Keras are imported inside functions, so that importing this module is fast.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from models.efficientnet_lite import EFFICIENTNET_LITES, build_efficientnet_lite
from models.errors import WeightsError

if TYPE_CHECKING:
    import keras

Tensors = dict[str, npt.NDArray[Any]]

POOLED = "pooled"

Scaling = Literal["-1..1", "imagenet_mean", "(x-127)/128"]
"""Scaling of pixels to the input of a network.

- `-1..1`: as for InceptionV3.
- `imagenet_mean`: as for VGG19: BGR minus ImageNet's mean (Keras's mode "caffe").
- `(x-127)/128`: as for EfficientNet-Lite.
"""

#: Keras's automatic layer names; their numbers increase over the life of a process.
_AUTO_NAME = re.compile(r"(?P<kind>conv2d|batch_normalization|dense)(?:_(?P<number>\d+))?")


def _inception_v3(size: int | None) -> keras.Model:
    """Build InceptionV3 without its top (Szegedy et al., 2015, arXiv:1512.00567)."""
    import keras

    return keras.applications.InceptionV3(
        include_top=False, weights=None, pooling="avg", input_shape=(size, size, 3), name="inception_v3"
    )


def _small_cnn(size: int | None) -> keras.Model:
    """Build three convolutions and a dense layer (Chollet, 2016, "Building powerful image classification models")."""
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
    """Build VGG19's convolutions (Simonyan, Zisserman, 2014, arXiv:1409.1556) with two new dense layers."""
    import keras
    from keras import layers

    convolutions = keras.applications.VGG19(include_top=False, weights=None, input_shape=(size, size, 3))
    values = layers.Flatten()(convolutions.output)
    values = layers.Dense(1024, activation="relu")(values)
    features = layers.Dense(1024, activation="relu")(layers.Dropout(0.5, name="between")(values))
    return keras.Model(convolutions.input, features, name="vgg19")


_IMAGENET_MEAN_BGR = (103.939, 116.779, 123.68)

_BUILDERS: dict[str, Callable[[int | None], keras.Model]] = {
    "inception_v3": _inception_v3,
    "small_cnn": _small_cnn,
    "vgg19": _vgg19,
    **{network: partial(build_efficientnet_lite, network) for network in EFFICIENTNET_LITES},
}

NETWORKS = tuple(_BUILDERS)


def build(
    network: str, size: int, tops: Mapping[str, int], *, dropout: float = 0.0, any_size: bool = False
) -> keras.Model:
    """Build a network with randomly initialized weights.

    Args:
        network: one of `NETWORKS`.
        size: side of the square input, px.
        tops: name -> number of classes. Each becomes a softmax on the pooled features; with 1 class, a sigmoid unit.
        dropout: dropout rate on the pooled features before the tops, while fitting.
        any_size: also accept images of other sizes; only for networks with global pooling.

    Returns:
        Model: float32 [n, size, size, 3], scaled by `scale` -> {`pooled`: [n, features], each top: [n, classes]}.

    Raises:
        WeightsError: the network is unknown or cannot be built at this size.
    """
    import keras

    if network not in _BUILDERS:
        raise WeightsError(f"Unknown network {network!r}. Use one of: {', '.join(NETWORKS)}.")
    try:
        trunk = _BUILDERS[network](None if any_size else size)
    except ValueError as error:
        raise WeightsError(f"{network} cannot be built for {size} px: {error}") from error
    pooled = trunk.output
    dropped = keras.layers.Dropout(dropout, name="dropout")(pooled) if dropout else pooled
    outputs = {
        top: keras.layers.Dense(width, "softmax" if width > 1 else "sigmoid", name=top, dtype="float32")(dropped)
        for top, width in tops.items()
    }
    return keras.Model(trunk.input, {POOLED: pooled, **outputs}, name=network)


def scaling_of(network: str) -> Scaling:
    """Return the input scaling of a network, which pretrained weights require."""
    if network in EFFICIENTNET_LITES:
        return "(x-127)/128"
    return "imagenet_mean" if network == "vgg19" else "-1..1"


def scale(pixels: Any, scaling: Scaling = "-1..1") -> Any:
    """Scale pixels to the network's input range, as part of the graph.

    Args:
        pixels: 0..255, RGB, [n, size, size, 3].
        scaling: of the network, from `scaling_of`.

    Returns:
        float32 of the same shape.
    """
    import tensorflow as tf

    values = tf.cast(pixels, tf.float32)
    match scaling:
        case "-1..1":
            return values / 127.5 - 1.0
        case "imagenet_mean":
            return values[..., ::-1] - tf.constant(_IMAGENET_MEAN_BGR)
        case "(x-127)/128":
            return (values - 127.0) / 128.0


def get_tensors(model: keras.Model) -> Tensors:
    """Return all weights by name: kernels as float16, which halves the file, all others as float32.

    Batch normalization statistics can exceed the range of float16.
    """
    return {
        name: np.asarray(variable.numpy(), dtype=np.float16 if name.endswith("/kernel") else np.float32)
        for name, variable, _ in _named_variables(model)
    }


def sigmoid_to_softmax(tensors: Tensors, top: str) -> Tensors:
    """Convert a sigmoid unit to an equal two-class softmax: sigmoid(z) is the second output of softmax(0, z)."""
    names = (f"{top}/kernel", f"{top}/bias")
    return {name: np.concatenate([np.zeros_like(tensors[name]), tensors[name]], axis=-1) for name in names}


def set_tensors(
    model: keras.Model, tensors: Mapping[str, npt.NDArray[Any]], *, skip_mismatched_dense: bool = False
) -> None:
    """Load tensors into a model.

    Args:
        model: from `build`.
        tensors: by the names of `get_tensors`; others are ignored.
        skip_mismatched_dense: keep the current weights of dense layers, such as tops, whose tensors are missing or have
            another shape.

    Raises:
        WeightsError: a tensor is missing or has another shape.
    """
    for name, variable, is_dense in _named_variables(model):
        value = tensors.get(name)
        if value is not None and tuple(value.shape) == tuple(variable.shape):
            variable.assign(np.asarray(value, dtype=np.float32))
        elif not (skip_mismatched_dense and is_dense):
            actual = "is missing" if value is None else f"has shape {tuple(value.shape)}"
            raise WeightsError(
                f"These weights do not match {model.name}: {name} {actual}, expected shape {tuple(variable.shape)}."
            )


def to_bytes(tensors: Tensors) -> bytes:
    """Serialize tensors in the safetensors format."""
    return safetensors.save({name: np.ascontiguousarray(value) for name, value in tensors.items()})


def from_bytes(data: bytes) -> Tensors:
    """Parse a safetensors file; raises WeightsError."""
    try:
        return safetensors.load(data)
    except (SafetensorError, KeyError, ValueError) as error:  # KeyError: a number type that NumPy does not have
        raise WeightsError(f"The weights are not a readable safetensors file ({error}).") from error


def _named_variables(model: keras.Model) -> Iterator[tuple[str, Any, bool]]:
    """Yield `layer/variable`, the variable, and whether its layer is dense.

    Automatically named layers are renumbered from 0 in the order of their creation.
    """
    import keras

    layers = sorted((layer for layer in model.layers if layer.weights), key=_creation_key)
    counts: Counter[str] = Counter()
    for layer in layers:
        kind, auto_name = _creation_key(layer)[0], _AUTO_NAME.fullmatch(layer.name)
        prefix = f"{kind}_{counts[kind]}" if auto_name else layer.name
        counts[kind] += 1
        for variable in layer.weights:
            yield f"{prefix}/{variable.name}", variable, isinstance(layer, keras.layers.Dense)


def _creation_key(layer: keras.Layer) -> tuple[str, int]:
    auto_name = _AUTO_NAME.fullmatch(layer.name)
    return (auto_name["kind"], int(auto_name["number"] or 0)) if auto_name else (layer.name, 0)
