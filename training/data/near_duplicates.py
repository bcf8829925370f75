"""Near duplicates: the same picture stored again, smaller or recompressed, or the next one of a burst.

dHash (Krawetz, 2013, "Kind of Like That", hackerfactor.com): whether each of 8 x 8 places of a grey thumbnail is darker
than the place to its right. Pictures that differ in few of these 64 signs look alike to people too; turned or mirrored
ones are not recognised.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image
from scipy.sparse import csr_array, vstack
from scipy.sparse.csgraph import connected_components

from models.arrays import Pixels
from models.heads import Integers

_SIDE = 8
#: Signs in which near duplicates may differ, of 64.
_NEAR = 6
_BLOCK = 1024


def dhash(rgb: Pixels) -> int:
    """The 64 signs of a picture, uint8 [height, width, 3], as one number."""
    grey = Image.fromarray(rgb).convert("L").resize((_SIDE + 1, _SIDE), Image.Resampling.BOX)
    levels = np.array(grey)
    return int.from_bytes(np.packbits(levels[:, :-1] < levels[:, 1:]).tobytes())


def groups(hashes: Sequence[int]) -> Integers:
    """For each picture the number of its group: near duplicates, and near duplicates of those, are in one."""
    if not hashes:
        return np.empty(0, np.int64)
    distinct, place = np.unique(np.array(hashes, dtype=np.uint64), return_inverse=True)
    blocks = [
        csr_array(np.bitwise_count(distinct[start : start + _BLOCK, None] ^ distinct) <= _NEAR)
        for start in range(0, len(distinct), _BLOCK)
    ]
    _, group_of = connected_components(vstack(blocks), directed=False)
    return np.asarray(group_of[place], dtype=np.int64)
