"""EfficientNet-Lite without its top: EfficientNet without squeeze-and-excitation, and with ReLU6 in place of swish.

Sources: Tan and Le, 2019, arXiv:1905.11946, table 1; for the changes of Lite, TensorFlow's TPU models
(`efficientnet_lite_builder.py`). Stochastic depth, which is used only while fitting, is left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

#: Multiples of the filters of table 1, and of the blocks of its stages, by network.
_SCALES = {"efficientnet_lite0": (1.0, 1.0), "efficientnet_lite1": (1.0, 1.1), "efficientnet_lite2": (1.1, 1.2)}
EFFICIENTNET_LITES = tuple(_SCALES)

#: The stages of table 1: blocks, side of the kernel, stride of the first block, expansion, filters.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
#: Filters of the first and of the last convolution, which Lite does not scale.
_STEM, _HEAD = 32, 1280
_NORM_EPSILON = 1e-3


@dataclass(frozen=True)
class Block:
    """An inverted residual block (Sandler et al., 2018, arXiv:1801.04381): expand, filter each channel, project.

    Attributes:
        kernel: side of the depthwise kernel.
        expansion: factor from the input's channels to those between; 1: no expanding convolution.
        filters: channels of the output.
    """

    kernel: int
    stride: int
    expansion: int
    inputs: int
    filters: int

    @property
    def is_residual(self) -> bool:
        """True if the input is added to the output."""
        return self.stride == 1 and self.inputs == self.filters


def blocks(network: str) -> Iterator[Block]:
    """Yield the blocks of a network, one of `EFFICIENTNET_LITES`, from input to output."""
    width, depth = _SCALES[network]
    inputs = _STEM
    for number, (repeats, kernel, stride, expansion, filters) in enumerate(_STAGES):
        is_scaled = 0 < number < len(_STAGES) - 1  # Lite scales the depth of all stages but the first and the last
        filters = _round_filters(filters * width)
        for repeat in range(math.ceil(repeats * depth) if is_scaled else repeats):
            yield Block(kernel, 1 if repeat else stride, expansion, inputs, filters)
            inputs = filters


def build_efficientnet_lite(network: str, size: int | None) -> keras.Model:
    """Build a network up to its pooled features.

    The layers of block n are `blockN_expand`, `blockN_depthwise` and `blockN_project`, each followed by its batch
    normalization, such as `blockN_expand_norm`.

    Args:
        network: one of `EFFICIENTNET_LITES`.
        size: side of the square input, px; None: any.

    Returns:
        Model: float32 [n, size, size, 3], (pixels - 127) / 128 -> float32 [n, 1280].
    """
    import keras
    from keras import layers

    pixels = keras.Input((size, size, 3))
    stem = layers.Conv2D(_STEM, 3, 2, padding="same", use_bias=False, name="stem")
    values = layers.ReLU(6)(_normalized(stem, pixels))
    for number, block in enumerate(blocks(network)):
        values = _apply_block(block, values, f"block{number}")
    values = layers.ReLU(6)(_normalized(_pointwise(_HEAD, "head"), values))
    return keras.Model(pixels, layers.GlobalAveragePooling2D()(values), name=network)


def _apply_block(block: Block, inputs: keras.KerasTensor, name: str) -> keras.KerasTensor:
    from keras import layers

    values = inputs
    if block.expansion > 1:
        expand = _pointwise(block.inputs * block.expansion, f"{name}_expand")
        values = layers.ReLU(6)(_normalized(expand, values))
    depthwise = layers.DepthwiseConv2D(
        block.kernel, block.stride, padding="same", use_bias=False, name=f"{name}_depthwise"
    )
    values = layers.ReLU(6)(_normalized(depthwise, values))
    values = _normalized(_pointwise(block.filters, f"{name}_project"), values)
    return layers.Add()([values, inputs]) if block.is_residual else values


def _pointwise(filters: int, name: str) -> keras.Layer:
    """Create a convolution of single pixels."""
    from keras import layers

    return layers.Conv2D(filters, 1, use_bias=False, name=name)


def _normalized(convolution: keras.Layer, values: keras.KerasTensor) -> keras.KerasTensor:
    """Apply a convolution and batch normalization."""
    from keras import layers

    return layers.BatchNormalization(epsilon=_NORM_EPSILON, name=f"{convolution.name}_norm")(convolution(values))


def _round_filters(filters: float) -> int:
    """Round to a multiple of 8, down by at most 10 %."""
    rounded = max(8, int(filters + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * filters else rounded
