"""Class folders -> TFRecord shards, which other programs read as well.

folder ──find──▶ files ──shuffle──▶ shards ──encode──▶ TO/SPLIT/SPLIT-00000-of-00008.tfrecord
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from models.arrays import decode_array
from models.console.progress import Advance, Track, silent
from models.cpu import available_cores
from models.decoding.image import sniff
from models.errors import ImageError
from training.data import tfrecords
from training.data.dataset import CACHE_FOLDER, unpacked
from training.data.layout import CLASSES_FILE, ImageFile, detect_layout
from training.errors import DatasetError
from training.ingest.staging import staged

_SHUFFLE_SEED = 0
#: What every reader of TFRecords decodes; the bytes of these stay as they are.
_KEPT = {"JPEG", "PNG"}


def export(
    source: Path,
    to: Path,
    shards: int,
    *,
    replace: bool = False,
    cache: Path = CACHE_FOLDER,
    track: Track = silent,
) -> dict[str, int]:
    """Write a dataset as TFRecord shards; memory does not grow with it.

    JPEG and PNG files are stored byte for byte, other formats as PNG without loss. Labels count from 0 in the order of
    the training classes' names. Images are shuffled, always in the same way, since many programs read shards in order.

    Args:
        source: a folder or an archive that `training.data.layout` understands.
        to: the new folder.
        shards: of each split, or as many as it has images.
        replace: put it in the place of a dataset that is there.
        cache: where archives are unpacked.
        track: shows progress.

    Returns:
        split -> number of images.

    Raises:
        DatasetError: no dataset is there, a file is no image, or there is something at `to` already.
    """
    layout = detect_layout(unpacked(source, "train", cache))
    labels = _labels(layout.files)
    splits: dict[str, list[ImageFile]] = {}
    for file in layout.files:
        splits.setdefault(file.split, []).append(file)
    with staged(to, replace=replace) as staging:
        for split, files in splits.items():
            with track(f"Writing {split}", len(files)) as advance:
                _write_split(staging.dataset / split, files, labels, shards, advance)
        if (layout.root / CLASSES_FILE).is_file():
            shutil.copyfile(layout.root / CLASSES_FILE, staging.dataset / CLASSES_FILE)
    return {split: len(files) for split, files in splits.items()}


def _labels(files: Sequence[ImageFile]) -> dict[str, int]:
    """Classes that only other splits have come behind those of the training split."""
    trained = {file.label for file in files if file.split == "train"}
    names = sorted({file.label for file in files}, key=lambda name: (name not in trained, name))
    return {name: label for label, name in enumerate(names)}


def _write_split(
    folder: Path, files: Sequence[ImageFile], labels: dict[str, int], shards: int, advance: Advance
) -> None:
    folder.mkdir(parents=True)
    order = np.random.default_rng(_SHUFFLE_SEED).permutation(len(files))
    count = min(shards, len(files))

    def write(number: int) -> None:
        path = folder / f"{folder.name}-{number:05}-of-{count:05}.tfrecord"
        with tf.io.TFRecordWriter(str(path)) as writer:
            for index in order[number::count]:
                file = files[index]
                encoded, kind = _encoded(file.path)
                filename = file.path.relative_to(file.folder).as_posix()
                writer.write(tfrecords.example(encoded, kind, labels[file.label], file.label, filename))
                advance(1)

    with ThreadPoolExecutor(available_cores()) as pool:
        list(pool.map(write, range(count)))


def _encoded(path: Path) -> tuple[bytes, str]:
    """The bytes to store and their format."""
    content = path.read_bytes()
    try:
        kind = sniff(content)
        if kind in _KEPT:
            return content, kind.lower()
        png = io.BytesIO()
        Image.fromarray(decode_array(content)).save(png, "PNG")
        return png.getvalue(), "png"
    except ImageError as error:
        raise DatasetError(f"{path}: {error}") from error
