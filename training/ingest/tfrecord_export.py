"""Export of class folders as TFRecord shards, which other programs can read.

folder ──find──▶ files ──shuffle──▶ shards ──encode──▶ TO/SPLIT/SPLIT-00000-of-00008.tfrecord
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from models.console.progress import Advance, Track, silent
from models.cpu import available_cores
from models.decoding.errors import ImageError
from models.decoding.image import sniff
from models.preprocess import decode_array
from training.data import tfrecords
from training.data.archives import locate_root
from training.data.layout import CLASSES_FILE, ImageFile, detect_layout
from training.errors import DatasetError
from training.ingest.staging import stage_dataset
from training.runtime.folders import CACHE_FOLDER
from training.runtime.names import printable_path

#: Fixed, so that the same images give the same shards.
_SHUFFLE_SEED = 0
#: Formats that every TFRecord reader can decode; their bytes are stored unchanged.
_UNCHANGED_FORMATS = {"JPEG", "PNG"}


def export(
    source: Path,
    to: Path,
    shards: int,
    *,
    replace: bool = False,
    cache: Path = CACHE_FOLDER,
    track: Track = silent,
    on_left_out: Callable[[Sequence[str]], None] = lambda _: None,
) -> dict[str, int]:
    """Write a dataset as TFRecord shards. Memory use does not grow with the dataset.

    JPEG and PNG files are stored byte for byte, other formats as lossless PNG. Labels are numbered from 0 in the order
    of the training classes' names. Images are shuffled, always in the same way, because many readers take shards in
    order.

    Args:
        source: a folder or an archive in a layout that `training.data.layout` detects.
        to: the folder to create.
        shards: files per split; a split never has more files than images.
        replace: replace an existing dataset.
        cache: where archives are unpacked.
        track: shows progress.
        on_left_out: called with a line for each entry of the dataset that is not used.

    Returns:
        Split -> number of images.

    Raises:
        DatasetError: there is no dataset, a file is not an image, or `to` already exists.
    """
    layout = detect_layout(locate_root(source, "train", cache))
    unused = (*layout.unused, *layout.loose)
    on_left_out([f"{printable_path(entry.path, layout.root)}: {entry.reason}" for entry in unused])
    labels = _label_classes(layout.files)
    splits: dict[str, list[ImageFile]] = {}
    for file in layout.files:
        splits.setdefault(file.split, []).append(file)
    with stage_dataset(to, replace=replace) as staging:
        for split, files in splits.items():
            with track(f"Writing {split}", len(files)) as advance:
                _write_split(staging.dataset / split, files, labels, shards, advance)
        if (layout.root / CLASSES_FILE).is_file():
            shutil.copyfile(layout.root / CLASSES_FILE, staging.dataset / CLASSES_FILE)
    return {split: len(files) for split, files in splits.items()}


def _label_classes(files: Sequence[ImageFile]) -> dict[str, int]:
    """Number the classes; those without training images come last."""
    trained = {file.label for file in files if file.split == "train"}
    names = sorted({file.label for file in files}, key=lambda name: (name not in trained, name))
    return {name: label for label, name in enumerate(names)}


def _write_split(
    folder: Path, files: Sequence[ImageFile], labels: dict[str, int], shards: int, advance: Advance
) -> None:
    folder.mkdir(parents=True)
    order = np.random.default_rng(_SHUFFLE_SEED).permutation(len(files))
    count = min(shards, len(files))

    def write_shard(number: int) -> None:
        path = folder / f"{folder.name}-{number:05}-of-{count:05}.tfrecord"
        with tf.io.TFRecordWriter(str(path)) as writer:
            for index in order[number::count]:
                file = files[index]
                encoded, image_format = _encode(file.path)
                filename = file.path.relative_to(file.folder).as_posix()
                writer.write(tfrecords.encode_example(encoded, image_format, labels[file.label], file.label, filename))
                advance(1)

    with ThreadPoolExecutor(available_cores()) as pool:
        list(pool.map(write_shard, range(count)))


def _encode(path: Path) -> tuple[bytes, str]:
    """Return the bytes to store and their format."""
    content = path.read_bytes()
    try:
        image_format = sniff(content)
        if image_format in _UNCHANGED_FORMATS:
            return content, image_format.lower()
        png = io.BytesIO()
        Image.fromarray(decode_array(content)).save(png, "PNG")
        return png.getvalue(), "png"
    except ImageError as error:
        raise DatasetError(f"{path}: {error}") from error
