"""Random variants of training images, made at the size the images have at their source.

Everything here takes the random generator it draws from, so that a variant can be made again.
"""

from __future__ import annotations

import numpy as np

from models.image import Pixels


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
