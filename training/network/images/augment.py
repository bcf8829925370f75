"""Augmentation of training images at their source size.

Every function takes its random generator as an argument, so that the same variants can be produced again.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.arrays import Pixels
from models.decoding.resample import Box
from training.recipes.network import Warp

Matrix = npt.NDArray[np.float64]


def augment(
    images: Pixels, random: np.random.Generator, *, crop_border: int, flip: bool, warp: Warp | None = None
) -> Pixels:
    """Warp, crop and flip each image randomly.

    Args:
        images: uint8 [n, side, side, 3].
        random: random generator.
        crop_border: px of reflected border around the image, from which a square of the image's size is cropped (He et
            al., 2015, arXiv:1512.03385, section 4.2; reflected instead of black); 0: no crop.
        flip: mirror each image left to right with probability 1/2.
        warp: ranges of a random affine map.

    Returns:
        uint8 [n, side, side, 3].
    """
    warped = _warp(images, random, warp) if warp else images
    cropped = _crop(warped, random, crop_border) if crop_border else warped
    return _flip(cropped, random) if flip else cropped


def random_boxes(count: int, side: int, random: np.random.Generator, smallest_area: float) -> list[Box] | list[None]:
    """Draw random crops of square images, to be resized to the network's input.

    Args:
        count: number of boxes.
        side: of the images, px.
        random: random generator.
        smallest_area: lower bound of the uniformly drawn area, as a share of the image; 1: always the whole image. The
            logarithm of the aspect ratio is drawn uniformly between 3/4 and 4/3. An edge longer than the image is
            cut, so a box may become smaller than the drawn area.

    Returns:
        One box per image, within the image; None means the whole image.

    Source: Szegedy et al., 2014, arXiv:1409.4842.
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


def affine(image: Pixels, matrix: Matrix, shift: Matrix, fill: str) -> Pixels:
    """Apply an affine map about the centre of an image, with bilinear interpolation.

    Args:
        image: uint8 [side, side, 3].
        matrix: [2, 2], maps a position in the result to its position in the image; both are (right, down) from the
            centre.
        shift: [2], px, added to the mapped position.
        fill: how pixels beyond the edge are filled: a mode of scipy.ndimage.

    Returns:
        uint8 [side, side, 3].
    """
    from scipy import ndimage

    centre = (image.shape[0] - 1) / 2
    down_right = matrix[::-1, ::-1]
    offset = shift[::-1] + centre - down_right @ np.full(2, centre)
    channels = [
        ndimage.affine_transform(image[..., channel], down_right, offset, order=1, mode=fill)
        for channel in range(image.shape[2])
    ]
    return np.stack(channels, axis=-1)


def affine_map(
    rotation: float, shift: tuple[float, float], shear: float, zoom: tuple[float, float]
) -> tuple[Matrix, Matrix]:
    """Return the matrix [2, 2] and the shift [2] of `affine`, composed as Keras's apply_affine_transform does.

    Args:
        rotation: degrees.
        shift: px.
        shear: degrees; a point one px down moves right by its sine, and down by its cosine instead of by 1.
        zoom: factor of each axis; above 1 the content becomes smaller.
    """
    angle, shear_angle = np.deg2rad(rotation), np.deg2rad(shear)
    rotate = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    slant = np.array([[1, -np.sin(shear_angle)], [0, np.cos(shear_angle)]])
    return rotate @ slant @ np.diag(zoom), rotate @ np.array(shift)


def _warp(images: Pixels, random: np.random.Generator, warp: Warp) -> Pixels:
    max_shift = warp.shift * images.shape[1]

    def warp_image(image: Pixels) -> Pixels:
        rotation = random.uniform(-warp.rotation, warp.rotation)
        right, down = random.uniform(-max_shift, max_shift, 2)
        shear = random.uniform(-warp.shear, warp.shear)
        across, along = random.uniform(1 - warp.zoom, 1 + warp.zoom, 2)
        return affine(image, *affine_map(rotation, (right, down), shear, (across, along)), warp.fill)

    return np.stack([warp_image(image) for image in images])


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
