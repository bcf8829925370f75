"""Labelled images in TFRecord shards: `ROOT/SPLIT/*.tfrecord*`, a `tf.train.Example` for each image.

The features have the names that TensorFlow's own converters gave them (tensorflow/models, research/slim/datasets):
`image/encoded`, `image/format`, `image/class/label`, `image/class/text`, `image/filename`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # has to be set before the first import

import tensorflow as tf

# Reads at any place and checks each record's checksum, and leaves TensorFlow's threads to the fit that comes later,
# as tf.data does not.
from tensorflow.python.lib.io.tf_record import tf_record_random_reader

from training.errors import DatasetError

ENCODED = "image/encoded"
FORMAT = "image/format"
LABEL = "image/class/label"
TEXT = "image/class/text"
FILENAME = "image/filename"


@dataclass(frozen=True, slots=True)
class Record:
    """The encoded image of one record, where it lies in its shard."""

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
        """Of the file that it was."""
        return self.parts[-1]

    def read_bytes(self) -> bytes:
        """The encoded image."""
        with self.shard.open("rb") as content:
            content.seek(self.offset)
            return content.read(self.length)

    def __str__(self) -> str:
        return f"{self.shard}: {self.folder}/{self.filename}"


def records_by_class(shards: Iterable[Path]) -> dict[str, list[Record]]:
    """Where each image lies, by class and sorted as in class folders; only places are held, no images.

    The class is the text of a record, or where it has none its label in five digits.

    Raises:
        DatasetError: a shard is damaged, compressed, or holds something else than labelled images.
    """
    classes: dict[str, list[Record]] = {}
    for shard in shards:
        for record in _records(shard):
            classes.setdefault(record.folder, []).append(record)
    return {folder: sorted(classes[folder], key=lambda record: record.parts) for folder in sorted(classes)}


def example(encoded: bytes, kind: str, label: int, folder: str, filename: str) -> bytes:
    """One record: an encoded image of the format `kind` and what is known of it; the same bytes for the same image."""
    values = {ENCODED: encoded, FORMAT: kind.encode(), TEXT: folder.encode(), FILENAME: filename.encode()}
    features = {name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value])) for name, value in values.items()}
    features[LABEL] = tf.train.Feature(int64_list=tf.train.Int64List(value=[label]))
    message = tf.train.Example(features=tf.train.Features(feature=features))
    return bytes(message.SerializeToString(deterministic=True))


def _records(shard: Path) -> Iterator[Record]:
    for number, (end, payload) in enumerate(_payloads(shard)):
        try:
            features = tf.train.Example.FromString(payload).features.feature
            encoded = features[ENCODED].bytes_list.value[0]
            folder = _text(features, TEXT) or f"{features[LABEL].int64_list.value[0]:05}"
            filename = _text(features, FILENAME) or f"{shard.name}-{number:06}"
        except Exception as error:  # protobuf's own errors, IndexError, UnicodeDecodeError
            raise DatasetError(
                f"Record {number} of {shard} is no labelled image: {ENCODED} and {LABEL} or {TEXT} are needed."
            ) from error
        begin = end - _AFTER - len(payload)
        yield Record(folder, filename, shard, begin + payload.index(encoded), len(encoded))


#: Bytes of the checksum behind the payload of a record.
_AFTER = 4


def _payloads(shard: Path) -> Iterator[tuple[int, bytes]]:
    """Where each record ends, and what is in it."""
    reader, end = tf_record_random_reader(str(shard)), 0
    try:
        while end < shard.stat().st_size:
            payload, end = reader.read(end)
            yield end, payload
    except (tf.errors.DataLossError, IndexError) as error:
        raise DatasetError(
            f"{shard} is damaged or compressed after byte {end:,}. Fetch or export it again, uncompressed."
        ) from error
    finally:
        reader.close()


def _text(features: Any, name: str) -> str:
    values = features[name].bytes_list.value
    return str(values[0].decode()) if values else ""
