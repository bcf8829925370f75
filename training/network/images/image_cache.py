"""Cache of decoded images: the images of a split at their source size in one memory-mapped file.

Decoding costs more than everything else that is done to a small image, and a fit reads each image many times.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from models.arrays import Pixels
from models.console.progress import Advance, Track, silent
from models.preprocess import PreprocessSpec
from training.data.loader import prepared_batches
from training.data.split import Split


def load_decoded_images(
    split: Split, spec: PreprocessSpec, cache: Path, title: str = "images", track: Track = silent
) -> Pixels:
    """Return the images of a split after the first step of `spec`; decode them if the cache has no file of them.

    Args:
        split: the images.
        spec: only its first step matters here; `models.preprocess.to_input` is the second.
        cache: parent folder of the cache files.
        title: name of the images in the progress bar.
        track: shows progress.

    Returns:
        uint8 [images, source, source, 3] on disk, read-only, in the order of the split.

    Raises:
        DatasetError: images cannot be read; the message lists them.
    """
    first_step = spec.model_copy(update={"size": spec.source_side, "source": spec.source_side})
    path = cache / "sources" / f"{_key(split, first_step)}.npy"
    if not path.is_file():
        with track(f"Decoding {title}", len(split)) as advance:
            _write(split, first_step, path, advance)
    pixels: Pixels = np.load(path, mmap_mode="r")
    return pixels


def _write(split: Split, spec: PreprocessSpec, path: Path, advance: Advance) -> None:
    """Write to a temporary file and rename it, so that a killed run leaves no incomplete cache file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_suffix(".writing")
    pixels = np.lib.format.open_memmap(staging, "w+", np.uint8, (len(split), spec.size, spec.size, 3))
    for indices, batch in prepared_batches(dict(enumerate(split.images)), spec):
        pixels[indices] = batch
        advance(len(indices))
    pixels.flush()
    staging.rename(path)


def _key(split: Split, spec: PreprocessSpec) -> str:
    """Digest of the images in this order; the order depends on file names."""
    parts = (*split.digests, spec.source_side, spec.crop, spec.shrink, *filter(None, [spec.decode_margin]))
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:24]
