"""Upright RGB of any size -> uint8 at the network's input size, as a manifest's spec says.

One implementation for training and for serving. The spec is data: it lies in the classifier's
manifest and is never taken from settings. Scaling to floats happens in the network's graph.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from models.image import Pixels

Filter = Literal["box", "bilinear", "hamming", "bicubic", "lanczos"]
Box = tuple[float, float, float, float]
"""Left, top, right and bottom edge in pixels."""

_FILTERS = {name: Image.Resampling[name.upper()] for name in ("box", "bilinear", "hamming", "bicubic", "lanczos")}


class PreprocessSpec(BaseModel):
    """How a picture becomes what the head was fitted on.

    A head fitted on 32 px images does best on photographs that were first brought down to 32 px, so a
    picture takes two steps: to `source` (what the training images were), then to `size`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(ge=32, le=1024, description="side of the network's input, px")
    source: int | None = Field(None, ge=8, le=1024, description="side of the training images, px; none: `size`")
    crop: Literal["center", "none"] = Field("center", description="centre square, or the whole picture squeezed")
    shrink: Filter = Field("bicubic", description="antialiased filter of the first step")
    enlarge: Filter = Field("bilinear", description="filter of the second step")
    # A JPEG decoded at 1/2, 1/4 or 1/8 of its size comes out of the first step with every tenth sample changed by 1.
    # A softmax hardly notices; boosted trees jump, even at a single sample. So it is allowed by classifier, where
    # tests/models/test_scaled_decoding.py shows that its answers stay.
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
    def needed_side(self) -> int | None:
        """Fewest pixels a side that a decoder has to deliver; none: all there are."""
        return self.source_side * self.decode_margin if self.decode_margin else None


def preprocess(picture: Pixels | Image.Image, spec: PreprocessSpec) -> Pixels:
    """Both steps: RGB of any size, as uint8 [height, width, 3] or as Pillow holds it -> uint8 [size, size, 3]."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    return np.array(_enlarged(_shrunk(image, spec), spec, None))


def to_source(rgb: Pixels, spec: PreprocessSpec) -> Pixels:
    """First step: crop and reduce to what the training images were, uint8 [source, source, 3]."""
    return np.array(_shrunk(Image.fromarray(rgb), spec))


def to_input(source: Pixels, spec: PreprocessSpec, box: Box | None = None) -> Pixels:
    """Second step: to the network's input, uint8 [size, size, 3]; `box` is the part that is meant, if not all."""
    return np.array(_enlarged(Image.fromarray(source), spec, box))


def _shrunk(image: Image.Image, spec: PreprocessSpec) -> Image.Image:
    width, height = image.size
    if spec.crop == "center":
        side = min(height, width)
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
    else:
        box = (0.0, 0.0, float(width), float(height))
    return _resize(image, spec.source_side, spec.shrink, box)


def _enlarged(source: Image.Image, spec: PreprocessSpec, box: Box | None) -> Image.Image:
    return _resize(source, spec.size, spec.enlarge, box or (0.0, 0.0, float(source.width), float(source.height)))


def _resize(image: Image.Image, side: int, name: Filter, box: Box) -> Image.Image:
    if image.size == (side, side) and box == (0.0, 0.0, side, side):
        return image
    return image.resize((side, side), _FILTERS[name], box=box)
