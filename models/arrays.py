"""NumPy array types that the packages share."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
"""RGB images, uint8 [height, width, 3] or [n, height, width, 3]."""
Floats = npt.NDArray[np.float32]
"""Features or probabilities, float32."""
Integers = npt.NDArray[np.int64]
"""Labels or indices, int64."""
