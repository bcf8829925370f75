"""The images of a split, decoded once and kept at their source size in one memory-mapped file.

Decoding costs more than all else that is done to a small image, and a fit looks at each of them many times.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from models.arrays import Pixels
from models.console.progress import Advance, Track, silent
from models.preprocess import PreprocessSpec
from training.data.dataset import Split
from training.data.loader import prepared_batches


def load_source(
    split: Split, spec: PreprocessSpec, cache: Path, title: str = "images", track: Track = silent
) -> Pixels:
    """Read the images of a split as the first step of `spec` leaves them; makes the file if there is none.

    Args:
        split: the images.
        spec: only its first step counts; `models.preprocess.to_input` is the second.
        cache: folder of all such files.
        title: what they are called in the progress bar.
        track: shows progress.

    Returns:
        uint8 [images, source, source, 3] on disk, read-only, in the order of the split.

    Raises:
        DatasetError: images cannot be read; lists them.
    """
    first_step = spec.model_copy(update={"size": spec.source_side, "source": spec.source_side})
    path = cache / "sources" / f"{_key(split, first_step)}.npy"
    if not path.is_file():
        with track(f"Decoding {title}", len(split)) as advance:
            _write(split, first_step, path, advance)
    pixels: Pixels = np.load(path, mmap_mode="r")
    return pixels


def _write(split: Split, spec: PreprocessSpec, path: Path, advance: Advance) -> None:
    """Written beside its place and renamed into it: a killed run leaves no half of it under that name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_suffix(".writing")
    pixels = np.lib.format.open_memmap(staging, "w+", np.uint8, (len(split), spec.size, spec.size, 3))
    for indices, batch in prepared_batches(dict(enumerate(split.paths)), spec):
        pixels[indices] = batch
        advance(len(indices))
    pixels.flush()
    staging.rename(path)


def _key(split: Split, spec: PreprocessSpec) -> str:
    """Of the images in this very order: files that were renamed may be sorted otherwise."""
    parts = (*split.digests, spec.source_side, spec.crop, spec.shrink)
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:24]
