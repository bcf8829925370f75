"""An encoded picture -> RGB at the input sizes of networks, with Pillow alone.

Processes that decode (`models.decoding.worker`) import nothing more: NumPy and pydantic would take as much memory in each of them
as all the rest, and as much time before the first picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

from PIL import Image

from models.decoding.image import DEFAULT_LIMITS, Limits, decode

Filter = Literal["box", "bilinear", "hamming", "bicubic", "lanczos"]
Crop = Literal["center", "none"]
Box = tuple[float, float, float, float]
"""Left, top, right and bottom edge in pixels."""

_FILTERS = {name: Image.Resampling[name.upper()] for name in ("box", "bilinear", "hamming", "bicubic", "lanczos")}


class ResizeSpec(NamedTuple):
    """From a decoded picture to the network's input; `models.preprocess.PreprocessSpec` says what each is for."""

    source: int
    size: int
    crop: Crop
    shrink: Filter
    enlarge: Filter
    needed_side: int | None = None
    """Fewest pixels a side that a decoder has to deliver; none: all there are."""

    @property
    def nbytes(self) -> int:
        """Of the pixels, uint8 [size, size, 3]."""
        return self.size * self.size * 3


def prepare(
    data: bytes,
    wanted: Iterable[ResizeSpec],
    limits: Limits = DEFAULT_LIMITS,
    before: Callable[[int], object] | None = None,
) -> dict[ResizeSpec, Image.Image]:
    """Decode an image and resize it once for each distinct kind of steps.

    It is decoded once, unless some allow that a JPEG is decoded smaller: then once more for those, whose pixels must
    not depend on what else is wanted.

    Args:
        data: the encoded file.
        wanted: what is to be done with it.
        limits: of bytes and pixels.
        before: called once, with width times height, before anything is decoded.

    Raises:
        ImageError: the image cannot be taken; see `models.errors`.
    """
    distinct = set(wanted)
    made: dict[ResizeSpec, Image.Image] = {}
    for side in {steps.needed_side for steps in distinct}:  # one after another: a decoded picture may be large
        picture, before = decode(data, limits, side, before), None
        made |= {steps: resize(picture, steps) for steps in distinct if steps.needed_side == side}
    return made


def resize(picture: Image.Image, steps: ResizeSpec) -> Image.Image:
    """Both steps: upright RGB of any size -> RGB of size x size."""
    return enlarge(shrink(picture, steps), steps)


def shrink(picture: Image.Image, steps: ResizeSpec) -> Image.Image:
    """First step: cropped and brought down to what the training images were, source x source."""
    width, height = picture.size
    if steps.crop == "center":
        side = min(height, width)
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
    else:
        box = (0.0, 0.0, float(width), float(height))
    return _resize(picture, steps.source, steps.shrink, box)


def enlarge(source: Image.Image, steps: ResizeSpec, box: Box | None = None) -> Image.Image:
    """Second step: brought to size x size; `box` is the part that is meant, if not all."""
    return _resize(source, steps.size, steps.enlarge, box or (0.0, 0.0, float(source.width), float(source.height)))


def _resize(image: Image.Image, side: int, name: Filter, box: Box) -> Image.Image:
    if image.size == (side, side) and box == (0.0, 0.0, side, side):
        return image
    return image.resize((side, side), _FILTERS[name], box=box)
