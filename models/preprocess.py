"""Preprocessing by a spec: upright RGB of any size -> uint8 at the network's input size.

Training and serving share this implementation. The spec is part of the classifier's manifest and is never taken from
settings. Scaling to floats is part of the network's graph.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from models.arrays import Pixels
from models.decoding.image import decode
from models.decoding.limits import DEFAULT_LIMITS, Limits
from models.decoding.resample import Box, Filter
from models.decoding.resize import Crop, ResizeSpec, enlarge, resize, shrink
from models.decoding.resize import prepare as prepare_images

_MIN_DECODED_SIDE = 512
_MIN_DECODE_MARGIN = 2


def default_decode_margin(source: int) -> int:
    """Return the `decode_margin` of a new classifier that reduces images to `source` px.

    At least 512 px remain of a side. Scaled decoding blurs a little, and networks for small images notice it: at twice
    64 px it cost 2 points of accuracy, at twice 224 px nothing that could be measured.
    """
    return max(_MIN_DECODE_MARGIN, math.ceil(_MIN_DECODED_SIDE / source))


class PreprocessSpec(BaseModel):
    """Preprocessing that a head was fitted with.

    It has two steps: first to `source`, the size of the training images, then to `size`. A head fitted on 32 px images
    is most accurate on photos that are first reduced to 32 px.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(ge=32, le=1024, description="side of the network's input, px")
    source: int | None = Field(None, ge=8, le=1024, description="side of the training images, px; null: `size`")
    crop: Crop = Field("center", description="centre square, or none: the whole image, squeezed")
    shrink: Filter = Field("bicubic", description="antialiased filter of the first step")
    enlarge: Filter = Field("bilinear", description="filter of the second step")
    # Part of the spec, because scaled decoding changes pixels: training must decode as the server does.
    decode_margin: int | None = Field(
        None,
        ge=1,
        exclude_if=lambda margin: margin is None,
        description="decode JPEGs at 1/2, 1/4 or 1/8 if both sides stay at least this many times `source`; null: never",
    )

    mirror: bool = Field(
        False,
        exclude_if=lambda mirror: not mirror,
        description="average the network's outputs for the image and its mirror image; doubles the work",
    )

    @property
    def source_side(self) -> int:
        """Side after the first step, px."""
        return self.source or self.size

    @property
    def resize_spec(self) -> ResizeSpec:
        """The resizing of each image."""
        source = self.source_side
        min_decoded_side = source * self.decode_margin if self.decode_margin else None
        return ResizeSpec(source, self.size, self.crop, self.shrink, self.enlarge, min_decoded_side)


def decode_array(data: bytes, limits: Limits = DEFAULT_LIMITS, min_side: int | None = None) -> Pixels:
    """Decode an image like `models.decoding.image.decode`; returns uint8 [height, width, 3]."""
    return np.array(decode(data, limits, min_side))


def preprocess(image: Pixels | Image.Image, spec: PreprocessSpec) -> Pixels:
    """Run both steps on RGB of any size (uint8 [height, width, 3] or a Pillow image) -> uint8 [size, size, 3]."""
    rgb = image if isinstance(image, Image.Image) else Image.fromarray(image)
    return np.array(resize(rgb, spec.resize_spec))


def to_source(rgb: Pixels, spec: PreprocessSpec) -> Pixels:
    """Run the first step: crop and resize to the size of the training images -> uint8 [source, source, 3]."""
    return np.array(shrink(Image.fromarray(rgb), spec.resize_spec))


def to_input(source: Pixels, spec: PreprocessSpec, box: Box | None = None) -> Pixels:
    """Run the second step: resize `box` (default: all) to the network's input -> uint8 [size, size, 3]."""
    return np.array(enlarge(Image.fromarray(source), spec.resize_spec, box))


def prepare(
    data: bytes, specs: Iterable[PreprocessSpec], limits: Limits = DEFAULT_LIMITS
) -> dict[PreprocessSpec, Pixels]:
    """Decode an image and preprocess it once per distinct spec -> uint8 [size, size, 3] each; raises ImageError."""
    distinct = set(specs)
    images = prepare_images(data, [spec.resize_spec for spec in distinct], limits)
    return {spec: np.array(images[spec.resize_spec]) for spec in distinct}


def resize_all(rgb: Pixels, specs: Iterable[ResizeSpec]) -> dict[ResizeSpec, Pixels]:
    """Resize a decoded image, uint8 [height, width, 3], once per distinct spec -> uint8 [size, size, 3] each."""
    image = Image.fromarray(rgb)
    return {spec: np.array(resize(image, spec)) for spec in set(specs)}


def split_buffer(buffer: bytes, specs: Iterable[ResizeSpec]) -> dict[ResizeSpec, Pixels]:
    """Split the concatenated results of a decode request into arrays, uint8 [size, size, 3] each, without copying."""
    images, begin = dict[ResizeSpec, Pixels](), 0
    for spec in specs:
        shape = (spec.size, spec.size, 3)
        images[spec] = np.frombuffer(buffer, np.uint8, spec.nbytes, begin).reshape(shape)
        begin += spec.nbytes
    return images
