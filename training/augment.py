"""Random variants of training images, made at the size the images have at their source.

Everything here takes the random generator it draws from, so that a variant can be made again.
"""

from __future__ import annotations

import numpy as np

from models.image import Pixels
from models.preprocess import Box


def augment(images: Pixels, random: np.random.Generator, *, crop_border: int, flip: bool) -> Pixels:
    """Shift and mirror each image by chance.

    Args:
        images: uint8 [n, side, side, 3].
        random: where chance comes from.
        crop_border: px of reflected border around the image, out of which a square of its size is cut (He et
            al., 2015, arXiv:1512.03385, section 4.2; reflected instead of black); 0 for none.
        flip: mirror every second image, on average, from left to right.

    Returns:
        uint8 [n, side, side, 3].
    """
    cropped = _crop(images, random, crop_border) if crop_border else images
    return _flip(cropped, random) if flip else cropped


def random_boxes(count: int, side: int, random: np.random.Generator, smallest_area: float) -> list[Box] | list[None]:
    """Parts of square images, each to be enlarged to the network's input (Szegedy et al., 2014, arXiv:1409.4842).

    Args:
        count: of boxes.
        side: of the images, px.
        random: where chance comes from.
        smallest_area: share of the image that a box covers at least; 1 for all of it, always. Areas are drawn
            uniformly, and so is the logarithm of width to height between 3/4 and 4/3; an edge that is then longer
            than the image is cut to it, which makes boxes above three quarters of the area smaller at times.

    Returns:
        A box within the image for each; None means all of it.
    """
    if smallest_area == 1:
        return [None] * count
    areas = random.uniform(smallest_area, 1, count)
    roots = np.exp(random.uniform(np.log(3 / 4), np.log(4 / 3), count) / 2)
    widths = np.minimum(np.sqrt(areas) * roots, 1) * side
    heights = np.minimum(np.sqrt(areas) / roots, 1) * side
    lefts, tops = random.random(count) * (side - widths), random.random(count) * (side - heights)
    edges = np.stack([lefts, tops, lefts + widths, tops + heights], axis=1)
    return [(left, top, right, bottom) for left, top, right, bottom in np.minimum(edges, side).tolist()]


def _crop(images: Pixels, random: np.random.Generator, border: int) -> Pixels:
    side = images.shape[1]
    bordered = np.pad(images, ((0, 0), (border, border), (border, border), (0, 0)), mode="reflect")
    corners = random.integers(0, 2 * border, (len(images), 2), endpoint=True)
    squares = [
        image[top : top + side, left : left + side] for image, (top, left) in zip(bordered, corners, strict=True)
    ]
    return np.stack(squares)


def _flip(images: Pixels, random: np.random.Generator) -> Pixels:
    mirrored = random.random(len(images)) < 0.5
    return np.where(mirrored[:, None, None, None], images[:, :, ::-1], images)
