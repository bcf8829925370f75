"""Random variants of training images, made at the size the images have at their source.

Everything here takes the random generator it draws from, so that a variant can be made again.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from models.arrays import Pixels
from models.decoding.resize import Box

Matrix = npt.NDArray[np.float64]


class Warp(BaseModel):
    """A random affine map: the ranges of Keras's ImageDataGenerator, in its units and in its order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rotation: float = Field(0, ge=0, description="up to so many degrees, either way")
    shift: float = Field(0, ge=0, lt=1, description="up to this share of the side, either way, on both axes")
    shear: float = Field(0, ge=0, description="up to so many degrees, either way; 0.2 is next to nothing, in Keras too")
    zoom: float = Field(0, ge=0, lt=1, description="each axis apart, by a factor within 1 - zoom and 1 + zoom")
    fill: Literal["nearest", "reflect"] = Field("nearest", description="what is seen beyond the edge")


def augment(
    images: Pixels, random: np.random.Generator, *, crop_border: int, flip: bool, warp: Warp | None = None
) -> Pixels:
    """Warp, shift and mirror each image by chance.

    Args:
        images: uint8 [n, side, side, 3].
        random: where chance comes from.
        crop_border: px of reflected border around the image, out of which a square of its size is cut (He et
            al., 2015, arXiv:1512.03385, section 4.2; reflected instead of black); 0 for none.
        flip: mirror every second image, on average, from left to right.
        warp: ranges of a random affine map.

    Returns:
        uint8 [n, side, side, 3].
    """
    warped = _warp(images, random, warp) if warp else images
    cropped = _crop(warped, random, crop_border) if crop_border else warped
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


def affine(image: Pixels, matrix: Matrix, shift: Matrix, fill: str) -> Pixels:
    """Look at an image through an affine map about its centre, bilinearly.

    Args:
        image: uint8 [side, side, 3].
        matrix: [2, 2], from a place in the result to the place in the image that is seen there, both (right, down) from
            the centre.
        shift: [2], px, is added to it.
        fill: what is seen beyond the edge, a mode of scipy.ndimage.

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
    """The matrix [2, 2] and the shift [2] of `affine`, composed as Keras's apply_affine_transform does.

    Args:
        rotation: degrees.
        shift: px.
        shear: degrees; what is one px down moves by its sine to the right and shrinks by its cosine.
        zoom: factor of each axis; above 1, things become smaller.
    """
    turn, lean = np.deg2rad(rotation), np.deg2rad(shear)
    rotate = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    slant = np.array([[1, -np.sin(lean)], [0, np.cos(lean)]])
    return rotate @ slant @ np.diag(zoom), rotate @ np.array(shift)


def _warp(images: Pixels, random: np.random.Generator, warp: Warp) -> Pixels:
    reach = warp.shift * images.shape[1]

    def one(image: Pixels) -> Pixels:
        rotation = random.uniform(-warp.rotation, warp.rotation)
        right, down = random.uniform(-reach, reach, 2)
        shear = random.uniform(-warp.shear, warp.shear)
        across, along = random.uniform(1 - warp.zoom, 1 + warp.zoom, 2)
        return affine(image, *affine_map(rotation, (right, down), shear, (across, along)), warp.fill)

    return np.stack([one(image) for image in images])


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
