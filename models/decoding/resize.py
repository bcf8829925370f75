"""Decoding and resizing for several networks at once.

Decode workers (`models.decoding.worker`) import nothing heavier: NumPy and pydantic would double the memory and the
startup time of each worker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

from PIL import Image

from models.decoding.image import decode, reductions
from models.decoding.limits import DEFAULT_LIMITS, Limits
from models.decoding.resample import Box, Filter, resample

Crop = Literal["center", "none"]


class ResizeSpec(NamedTuple):
    """The resizing of a decoded image to a network's input; `models.preprocess.PreprocessSpec` explains the fields."""

    source: int
    size: int
    crop: Crop
    shrink: Filter
    enlarge: Filter
    min_decoded_side: int | None = None
    """Minimum side of a JPEG after scaled decoding, px; None: always decode at full size."""

    @property
    def nbytes(self) -> int:
        """Size of the result, uint8 [size, size, 3]."""
        return self.size * self.size * 3


def prepare(
    data: bytes,
    specs: Iterable[ResizeSpec],
    limits: Limits = DEFAULT_LIMITS,
    on_header: Callable[[int], object] | None = None,
) -> dict[ResizeSpec, Image.Image]:
    """Decode an image and resize it once per distinct spec.

    The image is decoded once for each reduction (whole, 1/2, 1/4, 1/8) that a spec asks for, so that the pixels for one
    spec do not depend on which other specs are requested.

    Args:
        data: the encoded file.
        specs: requested results.
        limits: checked before pixels are decoded.
        on_header: called once with width times height, before pixels are decoded.

    Raises:
        ImageError: the image is rejected.
    """
    distinct = set(specs)
    results: dict[ResizeSpec, Image.Image] = {}
    for min_side, group in _group_by_reduction(data, distinct, limits):
        image, on_header = (
            decode(data, limits, min_side, on_header),
            None,
        )  # frees the previous image, maybe a large one
        results |= {spec: resize(image, spec) for spec in group}
    return results


def _group_by_reduction(
    data: bytes, specs: Iterable[ResizeSpec], limits: Limits
) -> list[tuple[int | None, list[ResizeSpec]]]:
    """Return the specs that can share a decoded image, each group with the minimum side to decode for."""
    groups: dict[int | None, list[ResizeSpec]] = {}
    for spec in specs:
        groups.setdefault(spec.min_decoded_side, []).append(spec)
    if len(groups) <= 1:
        return list(groups.items())
    merged: dict[int, tuple[int | None, list[ResizeSpec]]] = {}
    for min_side, factor in reductions(data, groups, limits).items():
        merged.setdefault(factor, (min_side, []))[1].extend(groups[min_side])
    return list(merged.values())


def resize(image: Image.Image, spec: ResizeSpec) -> Image.Image:
    """Run both steps: upright RGB of any size -> RGB, size x size."""
    return enlarge(shrink(image, spec), spec)


def shrink(image: Image.Image, spec: ResizeSpec) -> Image.Image:
    """Run the first step: crop, and resize to the size of the training images, source x source."""
    width, height = image.size
    if spec.crop == "center":
        side = min(height, width)
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
    else:
        box = (0.0, 0.0, float(width), float(height))
    return resample(image, (spec.source, spec.source), spec.shrink, box)


def enlarge(source: Image.Image, spec: ResizeSpec, box: Box | None = None) -> Image.Image:
    """Run the second step: resize `box`, by default the whole image, to the network's input, size x size."""
    return resample(source, (spec.size, spec.size), spec.enlarge, box)
