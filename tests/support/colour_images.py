"""Noisy images of one colour each, as arrays; the tiny classifiers are trained on them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from models.arrays import Integers, Pixels

Colours = Mapping[str, tuple[int, int, int]]
"""The RGB colour of each class."""
COLOURS = {
    "blue": (20, 30, 220),
    "dark": (10, 10, 10),
    "green": (20, 200, 30),
    "red": (220, 20, 30),
    "white": (245, 245, 245),
    "yellow": (230, 220, 20),
}
FOUR_COLOURS = {name: COLOURS[name] for name in ("blue", "green", "red", "yellow")}
SIDE = 32
"""Height and width in pixels."""


def colour_images(per_class: int = 8, seed: int = 0, colours: Colours = FOUR_COLOURS) -> tuple[Pixels, Integers]:
    """Return images, uint8 [n, SIDE, SIDE, 3], and the index of the class of each, [n]."""
    noise = np.random.default_rng(seed).normal(0, 25, (len(colours), per_class, SIDE, SIDE, 3))
    pixels = np.clip(np.array(list(colours.values()))[:, None, None, None] + noise, 0, 255)
    return pixels.reshape(-1, SIDE, SIDE, 3).astype(np.uint8), np.repeat(np.arange(len(colours)), per_class)
