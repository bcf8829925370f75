"""Near duplicates: the same image resized or recompressed, or the next shot of a burst.

Two images look alike if their dHashes differ in few bits and their thumbnails correlate. dHash (Krawetz, 2013, "Kind of
Like That", hackerfactor.com) has one bit for each of 8 x 8 pixels of a grey thumbnail, set if the pixel is darker than
its right neighbour. It sees no more than the direction of small steps, so small or smooth images of different things
often have the same one: the correlation tells these apart. Rotated or mirrored images are not recognized.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from models.arrays import Floats, Integers, Pixels

_SIDE = 8
_BITS = 64
#: Of 64 bits. Krawetz takes 1 to 10 for a possible variation of an image and more for a different one; 6 is stricter,
#: because a false match can exclude an image from training.
_MAX_DIFFERENT_BITS = 6
#: Of the 967 pairs of CIFAR-10 images whose dHashes match, nearly all above .8 show the same scene and nearly all below
#: show different ones.
_MIN_CORRELATION = 0.8
#: Contrast, in grey levels, below which a thumbnail counts as plain. All plain thumbnails correlate.
_PLAIN_CONTRAST = 2.0
#: Pairs of hashes that are compared at a time, in about 15 bytes of memory each.
_MAX_COMPARED = 1 << 24


def thumbnail(rgb: Pixels) -> Pixels:
    """Return the thumbnail by which an image, uint8 [height, width, 3], is compared: uint8 [8, 9, 3]."""
    return np.array(Image.fromarray(rgb).resize((_SIDE + 1, _SIDE), Image.Resampling.BOX))


def dhash(rgb: Pixels) -> int:
    """Return the 64-bit dHash of an image or of its thumbnail, uint8 [height, width, 3]."""
    levels = np.array(Image.fromarray(thumbnail(rgb)).convert("L"))
    return int.from_bytes(np.packbits(levels[:, :-1] < levels[:, 1:]).tobytes())


def group_images(thumbnails: Sequence[Pixels]) -> Integers:
    """Return the group number of each image, int64 [images]; see `group_near_duplicates`."""
    return group_near_duplicates([dhash(pixels) for pixels in thumbnails], thumbnails)


def group_near_duplicates(hashes: Sequence[int], thumbnails: Sequence[Pixels] | None = None) -> Integers:
    """Return the group number of each image. Groups are transitive: near duplicates of near duplicates share one.

    Args:
        hashes: dHash of each image.
        thumbnails: of each image, uint8 [8, 9, 3]; None: the hashes alone decide.
    """
    values = np.array(hashes, np.uint64)
    rows = None if thumbnails is None or not hashes else _unit_rows(np.stack(thumbnails))
    group_of = np.arange(len(values), dtype=np.int64)
    for min_distance, members in _buckets(values):
        first = 0
        while first < len(members) - 1 and np.ptp(group_of[members]):
            block = members[first : first + max(1, _MAX_COMPARED // len(members))]
            pairs = _similar_pairs(values, rows, block, members[first:], min_distance)
            group_of = _joined(group_of, pairs)
            first += len(block)
    return group_of


def _unit_rows(thumbnails: Pixels) -> Floats:
    """Return vectors whose products are the correlations of thumbnails, float32 [images, values + 1].

    The additional value makes vectors of plain thumbnails alike, whose other values are noise.
    """
    values = thumbnails.reshape(len(thumbnails), -1).astype(np.float32)
    values -= values.mean(axis=1, keepdims=True)
    plain = np.full((len(values), 1), _PLAIN_CONTRAST * np.sqrt(values.shape[1]), np.float32)
    rows = np.concatenate([values, plain], axis=1)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def _buckets(hashes: np.ndarray) -> Iterator[tuple[int, Integers]]:
    """Yield sets of images, int64 [images] in ascending order, so that each two similar hashes share a set.

    If the bits are divided into one part more than may differ, at least one part of two similar hashes is equal
    (multi-index hashing; Norouzi et al., 2012, arXiv:1307.2982). A set has the hashes that are equal in one part.
    Equal hashes share a set of every part; only in those of the first one they need to be compared, so the least number
    of bits in which hashes have to differ comes with each set.
    """
    edges = np.linspace(0, _BITS, _MAX_DIFFERENT_BITS + 2).astype(int).tolist()
    for start, end in pairwise(edges):
        min_distance = 1 if start else 0
        part = (hashes >> np.uint64(start)) & np.uint64((1 << (end - start)) - 1)
        order = np.argsort(part, kind="stable")
        yield from ((min_distance, members) for members in np.split(order, np.flatnonzero(np.diff(part[order])) + 1))


def _similar_pairs(
    hashes: np.ndarray, rows: Floats | None, block: Integers, members: Integers, min_distance: int
) -> Integers:
    """Return the pairs of an image of the block and a member that look alike, int64 [2, pairs]."""
    distances = np.bitwise_count(hashes[block, None] ^ hashes[members])
    alike = (distances <= _MAX_DIFFERENT_BITS) & (distances >= min_distance) & (block[:, None] < members)
    if rows is not None:
        ones, others = np.flatnonzero(alike.any(axis=1)), np.flatnonzero(alike.any(axis=0))
        alike[np.ix_(ones, others)] &= rows[block[ones]] @ rows[members[others]].T >= _MIN_CORRELATION
    one, other = np.nonzero(alike)
    return np.stack([block[one], members[other]])


def _joined(group_of: Integers, pairs: Integers) -> Integers:
    """Return the groups, int64 [images], after those of each pair, int64 [2, pairs], are joined."""
    links = group_of[pairs]
    links = links[:, links[0] != links[1]]
    if not links.size:
        return group_of
    count = len(group_of)
    _, joined = connected_components(coo_array((np.ones(links.shape[1], bool), links), (count, count)), directed=False)
    return np.asarray(joined, dtype=np.int64)[group_of]
