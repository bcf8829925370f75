"""Near duplicates: the same image resized or recompressed, or the next shot of a burst.

Uses dHash (Krawetz, 2013, "Kind of Like That", hackerfactor.com): one bit for each of 8 x 8 pixels of a grey thumbnail,
set if the pixel is darker than its right neighbour. Images that differ in few bits look alike. Rotated or mirrored
images are not recognized.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image
from scipy.sparse import csr_array, vstack
from scipy.sparse.csgraph import connected_components

from models.arrays import Integers, Pixels

_SIDE = 8
#: Of 64 bits. Krawetz takes 1 to 10 for a possible variation of an image and more for a different one; 6 is stricter,
#: because a false match can exclude an image from training.
_MAX_DIFFERENT_BITS = 6
#: Hashes compared with all others at a time: with 10,000 hashes a block takes 80 MB.
_BLOCK = 1024


def dhash(rgb: Pixels) -> int:
    """Return the 64-bit dHash of an image, uint8 [height, width, 3]."""
    grey = Image.fromarray(rgb).convert("L").resize((_SIDE + 1, _SIDE), Image.Resampling.BOX)
    levels = np.array(grey)
    return int.from_bytes(np.packbits(levels[:, :-1] < levels[:, 1:]).tobytes())


def group_near_duplicates(hashes: Sequence[int]) -> Integers:
    """Return the group number of each image. Groups are transitive: near duplicates of near duplicates share one."""
    if not hashes:
        return np.empty(0, np.int64)
    distinct, index_of = np.unique(np.array(hashes, dtype=np.uint64), return_inverse=True)
    blocks = [
        csr_array(np.bitwise_count(distinct[start : start + _BLOCK, None] ^ distinct) <= _MAX_DIFFERENT_BITS)
        for start in range(0, len(distinct), _BLOCK)
    ]
    _, group_of = connected_components(vstack(blocks), directed=False)
    return np.asarray(group_of[index_of], dtype=np.int64)
