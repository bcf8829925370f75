"""What a network makes of a picture, or of it and its mirror image together, averaged.

As Krizhevsky et al. (2012, "ImageNet classification with deep convolutional neural networks", section 4.1) averaged
answers over crops and their reflections; here features are, so that a head runs once.
"""

from __future__ import annotations

import numpy as np

from models.arrays import Pixels
from models.engines.base import Outputs, Runner
from models.heads import Floats, Integers


def run_with_mirroring(engine: Runner, pixels: Pixels, mirrored: Integers) -> Outputs:
    """Run the network over all images, and once more over some of them from right to left.

    Args:
        engine: of the extractor.
        pixels: uint8 [n, size, size, 3].
        mirrored: int64 [m], the places of those whose spec says `mirror`; they run as a batch of their own, so that no
            batch becomes larger than the caller's.

    Returns:
        every output, float32 [n, width]; of the mirrored ones, the mean of both.
    """
    found = engine.run(pixels)
    if not len(mirrored):
        return found
    turned = engine.run(np.ascontiguousarray(pixels[mirrored, :, ::-1]))
    return {name: _averaged(values, turned[name], mirrored) for name, values in found.items()}


def _averaged(values: Floats, turned: Floats, mirrored: Integers) -> Floats:
    both = values.copy()
    both[mirrored] = (values[mirrored] + turned) / 2
    return both
