"""Writes images in the format of the official CIFAR-10 archive: a tar.gz of pickles from Python 2 and numpy."""

from __future__ import annotations

import io
import struct
import tarfile
from pathlib import Path

import numpy as np

from models.arrays import Integers, Pixels

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TRAIN_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))


def batch(pixels: Pixels, labels: Integers, *, fortran: bool = False) -> bytes:
    """Return one pickled batch of images, uint8 [n, 32, 32, 3]."""
    rows = pixels.transpose(0, 3, 1, 2).reshape(-1, 3072)
    entries = {
        "batch_label": _string(b"training batch"),
        "labels": _list([_integer(int(label)) for label in labels]),
        "data": _array(rows, fortran=fortran),
        "filenames": _list([_string(b"image_s_%06d.png" % index) for index in range(len(labels))]),
    }
    return _pickle(_dict(entries))


def meta(names: tuple[str, ...] = CLASSES) -> bytes:
    """Return the file batches.meta."""
    entries = {
        "num_cases_per_batch": _integer(10_000),
        "label_names": _list([_string(name.encode()) for name in names]),
        "num_vis": _integer(3072),
    }
    return _pickle(_dict(entries))


def split(count: int, seed: int) -> tuple[Pixels, Integers]:
    """Return random images, uint8 [count, 32, 32, 3], and labels of all classes, int64 [count]."""
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (count, 32, 32, 3), np.uint8), np.arange(count, dtype=np.int64)[::-1] % 10


def files(train: tuple[Pixels, Integers], test: tuple[Pixels, Integers]) -> dict[str, bytes]:
    """Return the files of the archive by name, with the training images in five batches."""
    parts = zip(TRAIN_BATCHES, np.array_split(train[0], 5), np.array_split(train[1], 5), strict=True)
    batches = {name: batch(pixels, labels) for name, pixels, labels in parts}
    return {"batches.meta": meta(), **batches, "test_batch": batch(*test), "readme.html": b"<html>"}


def archive(path: Path, contents: dict[str, bytes]) -> Path:
    """Write the files as cifar-10-python.tar.gz."""
    with tarfile.open(path, "w:gz") as members:
        for name, content in contents.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            members.addfile(member, io.BytesIO(content))
    return path


# The opcodes come from `pickletools.dis` of a real batch: protocol 2, where a Python 2 str is a BINSTRING.


def _pickle(value: bytes) -> bytes:
    return b"\x80\x02" + value + b"."


def _string(value: bytes) -> bytes:
    return b"U" + bytes([len(value)]) + value if len(value) < 256 else b"T" + struct.pack("<i", len(value)) + value


def _integer(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def _list(values: list[bytes]) -> bytes:
    return b"](" + b"".join(values) + b"e"


def _dict(entries: dict[str, bytes]) -> bytes:
    return b"}(" + b"".join(_string(key.encode()) + value for key, value in entries.items()) + b"u"


def _array(values: Pixels, *, fortran: bool) -> bytes:
    created = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85" + _string(b"b") + b"tR"
    dtype = b"cnumpy\ndtype\n(" + _string(b"u1") + b"K\x00K\x01tR"
    dtype += b"(K\x03" + _string(b"|") + b"NNN" + _integer(-1) + _integer(-1) + b"K\x00tb"
    shape = b"(" + b"".join(map(_integer, values.shape)) + b"t"
    order = b"\x88" if fortran else b"\x89"
    raw = _string(values.tobytes(order="F" if fortran else "C"))
    return created + b"(K\x01" + shape + dtype + order + raw + b"tb"
