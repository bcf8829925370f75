"""Labelled images in TFRecord shards: `ROOT/SPLIT/*.tfrecord*`, one `tf.train.Example` per image.

The features are named as in TensorFlow's own converters (tensorflow/models, research/slim/datasets):
`image/encoded`, `image/format`, `image/class/label`, `image/class/text`, `image/filename`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # has to be set before TensorFlow is first imported

import tensorflow as tf

# Private, but it verifies each record's checksum and, unlike tf.data, starts no TensorFlow operation: the thread
# settings of a later fit in this process could no longer be changed after one.
from tensorflow.python.lib.io.tf_record import tf_record_random_reader

from training.errors import DatasetError
from training.runtime.names import normalized

ENCODED = "image/encoded"
FORMAT = "image/format"
LABEL = "image/class/label"
TEXT = "image/class/text"
FILENAME = "image/filename"

#: Length of the checksum after the payload of each record.
_CHECKSUM_BYTES = 4


@dataclass(frozen=True, slots=True)
class TFRecordImage:
    """The position of one encoded image in its shard."""

    folder: str
    filename: str
    shard: Path
    offset: int
    length: int

    @property
    def parts(self) -> tuple[str, ...]:
        """Class and file, as in a class folder; images are sorted by them."""
        return (self.folder, *PurePosixPath(self.filename).parts)

    @property
    def name(self) -> str:
        """Name of the original file."""
        return self.parts[-1]

    def read_bytes(self) -> bytes:
        """Read the encoded image."""
        with self.shard.open("rb") as content:
            content.seek(self.offset)
            return content.read(self.length)

    def __str__(self) -> str:
        return f"{self.shard}: {self.folder}/{self.filename}"


def records_by_class(shards: Iterable[Path]) -> dict[str, list[TFRecordImage]]:
    """Index the images of shards by class, sorted as in class folders; only positions are kept, no images.

    The class is the record's text, or its label in five digits if it has no text.

    Raises:
        DatasetError: a shard is damaged or compressed, or contains records that are not labelled images.
    """
    classes: dict[str, list[TFRecordImage]] = {}
    for shard in shards:
        for record in _records(shard):
            classes.setdefault(record.folder, []).append(record)
    return {folder: sorted(classes[folder], key=lambda record: record.parts) for folder in sorted(classes)}


def encode_example(encoded: bytes, image_format: str, label: int, folder: str, filename: str) -> bytes:
    """Serialize one record deterministically.

    Args:
        encoded: the image file's bytes.
        image_format: `jpeg` or `png`.
        label: class index.
        folder: name of the class folder.
        filename: path of the file in the class folder; its bytes need not be UTF-8.
    """
    name = filename.encode("utf-8", "surrogateescape")
    values = {ENCODED: encoded, FORMAT: image_format.encode(), TEXT: folder.encode(), FILENAME: name}
    features = {name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value])) for name, value in values.items()}
    features[LABEL] = tf.train.Feature(int64_list=tf.train.Int64List(value=[label]))
    message = tf.train.Example(features=tf.train.Features(feature=features))
    return bytes(message.SerializeToString(deterministic=True))


def _records(shard: Path) -> Iterator[TFRecordImage]:
    for number, (end, payload) in enumerate(_payloads(shard)):
        try:
            features = tf.train.Example.FromString(payload).features.feature
            encoded = features[ENCODED].bytes_list.value[0]
            folder = normalized(_text(features, TEXT)) or f"{features[LABEL].int64_list.value[0]:05}"
            filename = _text(features, FILENAME, "surrogateescape") or f"{shard.name}-{number:06}"
        except Exception as error:  # protobuf's own errors, IndexError, UnicodeDecodeError
            raise DatasetError(
                f"Record {number} of {shard} is not a labelled image. It needs {ENCODED}, and {LABEL} or {TEXT}."
            ) from error
        start = end - _CHECKSUM_BYTES - len(payload)
        yield TFRecordImage(folder, filename, shard, start + payload.index(encoded), len(encoded))


def _payloads(shard: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the end offset and the payload of each record."""
    reader, end = tf_record_random_reader(str(shard)), 0
    try:
        while end < shard.stat().st_size:
            payload, end = reader.read(end)
            yield end, payload
    except (tf.errors.DataLossError, IndexError) as error:
        raise DatasetError(
            f"{shard} is damaged or compressed after byte {end:,}. Get or export it again, uncompressed."
        ) from error
    finally:
        reader.close()


def _text(features: Any, name: str, errors: str = "strict") -> str:
    values = features[name].bytes_list.value
    return str(values[0].decode("utf-8", errors)) if values else ""
