"""Extractor outputs averaged over an image and its mirror image (test-time augmentation).

Krizhevsky et al. (2012, "ImageNet classification with deep convolutional neural networks", section 4.1) average
predictions over crops and their reflections. Here features are averaged instead, so that a head runs only once.
"""

from __future__ import annotations

import numpy as np

from models.arrays import Floats, Integers, Pixels
from models.engines.base import Outputs, Runner


def run_with_mirroring(engine: Runner, pixels: Pixels, mirrored_rows: Integers) -> Outputs:
    """Run the network on all images, and once more on the mirror images of some.

    Args:
        engine: runs the extractor.
        pixels: uint8 [n, size, size, 3].
        mirrored_rows: int64 [m], rows whose preprocess spec sets `mirror`. Their mirror images run as a separate batch,
            so that no batch is larger than the caller's.

    Returns:
        Every output, float32 [n, width]; for mirrored rows, the mean of both runs.
    """
    outputs = engine.run(pixels)
    if not len(mirrored_rows):
        return outputs
    flipped = engine.run(np.ascontiguousarray(pixels[mirrored_rows, :, ::-1]))
    return {name: _average_rows(values, flipped[name], mirrored_rows) for name, values in outputs.items()}


def _average_rows(values: Floats, flipped: Floats, rows: Integers) -> Floats:
    averaged = values.copy()
    averaged[rows] = (values[rows] + flipped) / 2
    return averaged
