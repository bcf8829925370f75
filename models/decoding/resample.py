"""Resampling of pixels: with cykooz-resizer (Rust) where it is installed, else with Pillow.

Resizing has two passes, one for each axis, and rounds to 8 bits after each. Both libraries can do both in one call, but
in orders that differ, and that versions of Pillow change; with bicubic and Lanczos, which overshoot, the order moves
samples by up to 30 levels. So each pass is a call of its own here, and the results of the libraries differ by at most
one level for each pass.
"""

from __future__ import annotations

import functools
import math
import threading
from typing import Any, Literal

import PIL
from PIL import Image

try:
    import cykooz_resizer
except ImportError:  # no wheel for this platform: see pyproject.toml
    cykooz_resizer = None

Filter = Literal["box", "bilinear", "hamming", "bicubic", "lanczos"]
Size = tuple[int, int]
"""Width and height, px."""
Box = tuple[float, float, float, float]
"""Left, top, right and bottom edge, px."""

_RADIUS = {"box": 0.5, "bilinear": 1.0, "hamming": 1.0, "bicubic": 2.0, "lanczos": 3.0}
_RUST_FILTERS = {"bilinear": "bilinear", "bicubic": "catmull_rom", "lanczos": "lanczos3"}
"""Filter -> its name in cykooz-resizer. Pillow resizes with the other filters: Hamming is missing, and a sample on the
edge of a box may count for the other pixel."""

_local = threading.local()


def resizer_name() -> str:
    """Return the library that resizes images, and its version, such as `Pillow 13.0.0`."""
    return f"Pillow {PIL.__version__}" if cykooz_resizer is None else f"cykooz-resizer {_rust_version()}"


@functools.cache  # reads a file
def _rust_version() -> str:
    from importlib.metadata import version  # slow to import: decode workers do without

    return version("cykooz-resizer")


def resample(image: Image.Image, size: Size, name: Filter, box: Box | None = None) -> Image.Image:
    """Resize a part of an RGB image.

    Args:
        image: RGB of any size. Samples beside `box` contribute to those at its edges.
        size: of the result.
        name: the filter, antialiased: its width grows with the scale.
        box: the part; None: the whole image. Its edges may lie between pixels.

    Returns:
        RGB of this size; the image itself if nothing changes.
    """
    box = box or (0.0, 0.0, float(image.width), float(image.height))
    if image.size == size and box == (0.0, 0.0, *size):
        return image
    left, top, right, bottom = box
    width, height = size
    if width * (bottom - top) <= height * (right - left):  # the order with the smaller intermediate image
        first, last = _used(top, bottom, height, image.height, name)
        rows = _pass(image, (width, last - first), name, (left, first, right, last))
        return _pass(rows, size, name, (0, top - first, width, bottom - first))
    first, last = _used(left, right, width, image.width, name)
    columns = _pass(image, (last - first, height), name, (first, top, last, bottom))
    return _pass(columns, size, name, (left - first, 0, right - first, height))


def fit_within(image: Image.Image, side: int) -> Image.Image:
    """Reduce an RGB image so that no side is longer than `side` px; keep the ratio of its sides."""
    scale = min(1.0, side / max(image.size))
    width, height = (max(1, round(pixels * scale)) for pixels in image.size)
    return resample(image, (width, height), "bicubic")


def _used(begin: float, end: float, pixels: int, available: int, name: Filter) -> tuple[int, int]:
    """Return the first row or column that the filter uses, and the one after the last, or a few more."""
    margin = _RADIUS[name] * max(1.0, (end - begin) / pixels) + 1
    return max(0, math.floor(begin - margin)), min(available, math.ceil(end + margin))


def _pass(image: Image.Image, size: Size, name: Filter, box: Box) -> Image.Image:
    """Resize along one axis; the other one keeps its pixels."""
    if cykooz_resizer is None or name not in _RUST_FILTERS:
        return image.resize(size, Image.Resampling[name.upper()], box)
    result = Image.new(image.mode, size)
    _resizer().resize_pil(image, result, _options(name, box))
    return result


def _resizer() -> Any:
    """Return the resizer of this thread: it keeps buffers, which threads must not share."""
    if not hasattr(_local, "resizer"):
        _local.resizer = cykooz_resizer.Resizer()
    return _local.resizer


def _options(name: Filter, box: Box) -> Any:
    left, top, right, bottom = box
    return cykooz_resizer.ResizeOptions(
        resize_alg=cykooz_resizer.ResizeAlg.convolution(cykooz_resizer.FilterType[_RUST_FILTERS[name]]),
        crop_box=cykooz_resizer.CropBox(left, top, right - left, bottom - top),
    )
