"""A store whose classifiers have coarser classes above the colours, and an image that only such a class fits."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.support import colour_store
from tests.support.images import encode

PARENTS = {"red": "warm", "yellow": "warm", "blue": "cold", "green": "cold", "warm": "colour", "cold": "colour"}
ORANGE = encode(np.full((48, 64, 3), (225, 120, 25), np.uint8), "PNG")
"""Between red and yellow: the classifier gives each of them less than 0.5, and `warm` more than 0.9."""


def build(root: Path) -> None:
    """Save the tiny store, and `shades`, which is `colours` with coarser classes."""
    colour_store.build(root)
    colour_store.add_classifier(root, "shades", "near_net", parents=PARENTS)
