"""Upright RGB of any size -> uint8 at the network's input size, as a manifest's spec says.

One implementation for training and for serving. The spec is data: it lies in the classifier's
manifest and is never taken from settings. Scaling to floats happens in the network's graph.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from models.arrays import Pixels
from models.decoding.image import DEFAULT_LIMITS, Limits
from models.decoding.resize import Box, Crop, Filter, ResizeSpec, enlarge, resize, shrink
from models.decoding.resize import prepare as prepare_images


class PreprocessSpec(BaseModel):
    """How a picture becomes what the head was fitted on.

    A head fitted on 32 px images does best on photographs that were first brought down to 32 px, so a
    picture takes two steps: to `source` (what the training images were), then to `size`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(ge=32, le=1024, description="side of the network's input, px")
    source: int | None = Field(None, ge=8, le=1024, description="side of the training images, px; none: `size`")
    crop: Crop = Field("center", description="centre square, or the whole picture squeezed")
    shrink: Filter = Field("bicubic", description="antialiased filter of the first step")
    enlarge: Filter = Field("bilinear", description="filter of the second step")
    # A JPEG decoded at 1/2, 1/4 or 1/8 of its size comes out of the first step with every tenth sample changed by 1.
    # A softmax hardly notices; boosted trees jump, even at a single sample. So it is allowed by classifier, where
    # tests/models/decoding/test_scaled_decoding.py shows that its answers stay.
    decode_margin: int | None = Field(
        None,
        ge=1,
        exclude_if=lambda margin: margin is None,
        description="a JPEG may be decoded smaller while this many times `source` remains; none: never",
    )

    mirror: bool = Field(
        False,
        exclude_if=lambda mirror: not mirror,
        description="what the network makes of a picture and of its mirror image is averaged: twice the work",
    )

    @property
    def source_side(self) -> int:
        """Side in pixels after the first step."""
        return self.source or self.size

    @property
    def resize_spec(self) -> ResizeSpec:
        """What is done with each picture."""
        source = self.source_side
        needed = source * self.decode_margin if self.decode_margin else None
        return ResizeSpec(source, self.size, self.crop, self.shrink, self.enlarge, needed)


def preprocess(picture: Pixels | Image.Image, spec: PreprocessSpec) -> Pixels:
    """Both steps: RGB of any size, as uint8 [height, width, 3] or as Pillow holds it -> uint8 [size, size, 3]."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    return np.array(resize(image, spec.resize_spec))


def to_source(rgb: Pixels, spec: PreprocessSpec) -> Pixels:
    """First step: crop and reduce to what the training images were, uint8 [source, source, 3]."""
    return np.array(shrink(Image.fromarray(rgb), spec.resize_spec))


def to_input(source: Pixels, spec: PreprocessSpec, box: Box | None = None) -> Pixels:
    """Second step: to the network's input, uint8 [size, size, 3]; `box` is the part that is meant, if not all."""
    return np.array(enlarge(Image.fromarray(source), spec.resize_spec, box))


def prepare(
    data: bytes, specs: Iterable[PreprocessSpec], limits: Limits = DEFAULT_LIMITS
) -> dict[PreprocessSpec, Pixels]:
    """Decode an image and preprocess it, by each spec: -> uint8 [size, size, 3]; raises ImageError."""
    distinct = set(specs)
    made = prepare_images(data, [spec.resize_spec for spec in distinct], limits)
    return {spec: np.array(made[spec.resize_spec]) for spec in distinct}


def prepare_pixels(rgb: Pixels, wanted: Iterable[ResizeSpec]) -> dict[ResizeSpec, Pixels]:
    """An image that is decoded already, uint8 [height, width, 3], after all these steps: -> uint8 [size, size, 3]."""
    image = Image.fromarray(rgb)
    return {steps: np.array(resize(image, steps)) for steps in set(wanted)}


def split_buffer(pixels: bytes, wanted: Iterable[ResizeSpec]) -> dict[ResizeSpec, Pixels]:
    """Pixels of one image after all these steps, one after another -> uint8 [size, size, 3] each, not copied."""
    taken, begin = dict[ResizeSpec, Pixels](), 0
    for steps in wanted:
        shape = (steps.size, steps.size, 3)
        taken[steps] = np.frombuffer(pixels, np.uint8, steps.nbytes, begin).reshape(shape)
        begin += steps.nbytes
    return taken
