"""Thumbnails of images, by which near duplicates are found, cached by the digest of each image."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from models.arrays import Pixels
from models.console.progress import Track, silent
from models.decoding.errors import ImageError
from models.preprocess import decode_array
from training.data.loader import raise_for_unreadable
from training.data.near_duplicates import group_images, thumbnail
from training.data.split import Split, StoredImage
from training.runtime.thread_map import thread_map

_FILE = "thumbnails.npz"


def group_by_look(splits: Iterable[Split], cache: Path, track: Track = silent) -> dict[str, int]:
    """Return the group of near duplicates of each image, by digest.

    Args:
        splits: the images; equal ones are decoded once, and their thumbnail is cached.
        cache: folder of the cache.
        track: shows progress.

    Raises:
        DatasetError: images cannot be read; the message lists them.
    """
    images: dict[str, list[StoredImage]] = {}
    for split in splits:
        for digest, image in zip(split.digests, split.images, strict=True):
            images.setdefault(digest, []).append(image)
    known = _read(cache / _FILE)
    missing = {digest: copies[0] for digest, copies in images.items() if digest not in known}
    if missing:
        copies = {digest: list(dict.fromkeys(images[digest]))[1:] for digest in missing}
        with track("near duplicates", len(missing)) as advance, raise_for_unreadable(missing, copies) as on_failure:

            def reduce(item: tuple[str, StoredImage]) -> Pixels | None:
                digest, image = item
                try:
                    return thumbnail(decode_array(image.read_bytes()))
                except ImageError as error:
                    on_failure(digest, str(error))
                except OSError as error:
                    on_failure(digest, error.strerror or str(error))
                return None

            made = thread_map(reduce, list(missing.items()), advance)
        known |= {digest: pixels for digest, pixels in zip(missing, made, strict=True) if pixels is not None}
        _write(cache / _FILE, known)
    digests = sorted(images)
    groups = group_images([known[digest] for digest in digests]).tolist()
    return dict(zip(digests, groups, strict=True))


def _read(path: Path) -> dict[str, Pixels]:
    """Read the cached thumbnails by digest; none if there is no such file."""
    if not path.is_file():
        return {}
    with np.load(path) as arrays:
        return {key.tobytes().hex(): pixels for key, pixels in zip(arrays["digests"], arrays["pixels"], strict=True)}


def _write(path: Path, thumbnails: Mapping[str, Pixels]) -> None:
    """Write to a temporary file and rename it, so that a killed run leaves no incomplete cache file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    digests = np.stack([np.frombuffer(bytes.fromhex(digest), np.uint8) for digest in thumbnails])
    descriptor, staging = tempfile.mkstemp(dir=path.parent, prefix=_FILE)
    with os.fdopen(descriptor, "wb") as file:
        np.savez(file, digests=digests, pixels=np.stack(list(thumbnails.values())))
    Path(staging).rename(path)
