"""Pictures as arrays, uint8 [height, width, 3]."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.decoding import image
from models.decoding.image import DEFAULT_LIMITS, Limits

Pixels = npt.NDArray[np.uint8]


def decode_array(data: bytes, limits: Limits = DEFAULT_LIMITS, needed_side: int | None = None) -> Pixels:
    """The same as `models.decoding.image.decoded`, as an array [height, width, 3]."""
    return np.array(image.decode(data, limits, needed_side))
