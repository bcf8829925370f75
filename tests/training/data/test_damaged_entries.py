"""A damaged file of a zip: every command leaves it out and names it, also when the archive comes from the cache."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.console.progress import silent
from tests.support.class_folders import contents, png, with_wrong_checksums, zipped
from tests.support.manifests import classifier_manifest
from training.data.archives import locate_root, unpack
from training.data.dataset import load_dataset
from training.data.overview import read_overview
from training.data.unpacking.damaged import why_damaged
from training.errors import DatasetError
from training.evaluation.evaluate import load_labelled_split
from training.evaluation.predictions import find_unlabelled_images
from training.ingest.cifar10 import BATCHES, META, import_cifar10
from training.ingest.class_folders import import_class_folders
from training.ingest.photo_folder import read_photo_folder
from training.ingest.tfrecord_export import export
from training.recipes.data import DatasetSpec

DAMAGED = "train/cats/0.png"
REASON = "is damaged in the archive"
FILES = {
    f"{split}/{label}/{number}.png": png(100 * i + 10 * j + number)
    for i, split in enumerate(("train", "test"))
    for j, label in enumerate(("cats", "dogs"))
    for number in range(4)
} | {"classes.tsv": b"cats\tkitten\ndogs\tpuppy\n"}

Result = tuple[list[str], int]
"""Lines about what is left out, and the number of images that are used."""


def run(archive: Path, cache: Path) -> Result:
    dataset = load_dataset(DatasetSpec(path="pets"), archive, cache=cache)
    assert dataset.test is not None
    return list(dataset.left_out), len(dataset.train) + len(dataset.test)


def train_folder(archive: Path, cache: Path) -> Result:
    photos = read_photo_folder(archive, cache, silent)
    assert photos.dataset.test is not None
    return list(photos.left_out), len(photos.dataset.train) + len(photos.dataset.test)


def evaluate(archive: Path, cache: Path) -> Result:
    lines: list[str] = []
    manifest = classifier_manifest({}, classes=("cats", "dogs"))
    splits = [
        load_labelled_split(archive, split, manifest, {"cats": "cats", "dogs": "dogs"}, cache, lines.extend)
        for split in ("train", "test")
    ]
    return list(dict.fromkeys(lines)), sum(map(len, splits))


def overview(archive: Path, cache: Path) -> Result:
    summary = read_overview(locate_root(archive, "train", cache))
    return [line.replace(" ", ": ", 1) for line in summary.unused], len(summary.headers) + len(summary.unreadable)


def tfrecords(archive: Path, cache: Path) -> Result:
    lines: list[str] = []
    written = export(archive, cache.parent / "shards", 1, replace=True, cache=cache, on_left_out=lines.extend)
    return lines, sum(written.values())


def predict(archive: Path, cache: Path) -> Result:
    damaged: dict[str, str] = {}
    found = find_unlabelled_images(archive, cache, damaged.__setitem__)
    return [f"{name}: {reason}" for name, reason in damaged.items()], len(set(found) - {"classes.tsv"})


def import_dataset(archive: Path, cache: Path) -> Result:
    report = import_class_folders("pets", archive, cache.parent / "data", replace=True)
    stored = contents(cache.parent / "data" / "pets")
    listed = stored.pop("rejected.csv")
    assert set(stored) == set(FILES) - {item.path for item in report.rejected}
    assert all(item.path.encode() in listed for item in report.rejected)
    return [f"{item.path}: {item.reason}" for item in report.rejected], report.total


@pytest.mark.parametrize("damaged", [DAMAGED, "classes.tsv"])
@pytest.mark.parametrize("command", [run, train_folder, evaluate, overview, tfrecords, predict, import_dataset])
def test_damaged_file_is_left_out_and_named(
    tmp_path: Path, command: Callable[[Path, Path], Result], damaged: str
) -> None:
    archive = with_wrong_checksums(zipped(tmp_path / "pets.zip", FILES), damaged)
    for _ in range(2):  # the second time, from the cache
        images = 15 if damaged == DAMAGED else 16
        assert command(archive, tmp_path / "cache") == ([f"{damaged}: {REASON}"], images)


def test_damaged_shard_is_left_out_and_named(tmp_path: Path) -> None:
    lines: list[str] = []
    export(zipped(tmp_path / "pets.zip", FILES), tmp_path / "shards", 2, cache=tmp_path / "cache")
    shards = contents(tmp_path / "shards")
    shard = next(name for name in shards if name.startswith("train/"))
    archive = with_wrong_checksums(zipped(tmp_path / "shards.zip", shards), shard)
    for _ in range(2):
        dataset = load_dataset(DatasetSpec(path="pets"), archive, cache=tmp_path / "cache")
        lines += dataset.left_out
        assert len(dataset.train) == 4
    assert lines == [f"{shard}: {REASON}"] * 2


def cut_deflate(content: bytes) -> bytes:
    """Damage the packed bytes of the first file."""
    return content[:60] + bytes(20) + content[80:]


def with_sizes(content: bytes, size: int) -> bytes:
    """Declare another unpacked size for the first file in the directory."""
    offset = content.index(b"PK\x01\x02") + 24
    return content[:offset] + struct.pack("<L", size) + content[offset + 4 :]


def encrypted(content: bytes) -> bytes:
    offset = content.index(b"PK\x01\x02") + 8
    return content[:6] + b"\1" + content[7:offset] + b"\1" + content[offset + 1 :]


def unknown_method(content: bytes) -> bytes:
    offset = content.index(b"PK\x01\x02") + 10
    return content[:8] + b"\x5f" + content[9:offset] + b"\x5f" + content[offset + 1 :]


def wrong_local_header(content: bytes) -> bytes:
    return b"PK\x03\x05" + content[4:]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (cut_deflate, REASON),
        (lambda content: with_sizes(content, 3), REASON),
        (lambda content: with_sizes(content, 2**32 - 2), REASON),
        (wrong_local_header, REASON),
        (encrypted, "is encrypted in the archive"),
        (unknown_method, "is not packed by the usual method (deflate) in the archive"),
    ],
)
def test_reason_says_what_is_wrong(tmp_path: Path, damage: Callable[[bytes], bytes], reason: str) -> None:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as members:
        members.writestr("train/cats/0.png", bytes(range(256)) * 4)
        members.writestr("train/cats/1.png", png(1))
    (tmp_path / "pets.zip").write_bytes(damage(buffer.getvalue()))
    damaged: dict[str, str] = {}
    found = find_unlabelled_images(tmp_path / "pets.zip", tmp_path / "cache", damaged.__setitem__)
    assert (set(found), damaged) == ({"1.png"}, {"0.png": reason})


def test_archive_without_a_usable_file_is_an_error(tmp_path: Path) -> None:
    archive = with_wrong_checksums(zipped(tmp_path / "pets.zip", {"a/1": b"1", "a/2": b"2"}), "a/1", "a/2")
    with pytest.raises(DatasetError, match=r"No file in .*'a/1' is damaged in the archive"):
        locate_root(archive, "train", tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.*"))


def test_later_file_of_the_same_name_is_not_written_through_the_mark(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "twice.zip", "w") as members:
        members.writestr("a", b"first")
        members.writestr("b", b"b")
    twice = with_wrong_checksums(tmp_path / "twice.zip", "a")
    with zipfile.ZipFile(twice, "a") as members, pytest.warns(UserWarning, match="Duplicate"):
        members.writestr("a", b"second")
    unpack(twice, tmp_path / "twice")
    assert contents(tmp_path / "twice") == {"b": b"b"}
    assert why_damaged(tmp_path / "twice" / "a") == REASON


def test_image_that_still_decodes_is_not_used(tmp_path: Path) -> None:
    buffer = BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(buffer, "JPEG")
    archive = with_wrong_checksums(
        zipped(tmp_path / "a.zip", {"a/1.jpg": buffer.getvalue(), "a/2.jpg": b""}), "a/1.jpg"
    )
    unpack(archive, tmp_path / "out")
    assert contents(tmp_path / "out") == {"a/2.jpg": b""}


@pytest.mark.parametrize("classes", [(), ("cats", "dogs")])
def test_error_of_a_dataset_names_the_damaged_file(tmp_path: Path, classes: tuple[str, ...]) -> None:
    cats = [name for name in FILES if name.startswith("train/cats/")]
    dogs = [name for name in FILES if name.startswith("train/dogs/")]
    archive = with_wrong_checksums(zipped(tmp_path / "pets.zip", FILES), *cats, *(() if classes else dogs))
    with pytest.raises(
        DatasetError, match=r"(missing cats|no folders of images)\. .*cats/0\.png is damaged in the archive\."
    ):
        load_dataset(DatasetSpec(path="pets", test=""), archive, classes, cache=tmp_path / "cache")


def test_damaged_batch_of_cifar10_is_named(tmp_path: Path) -> None:
    files = {f"cifar/{name}": name.encode() for name in (META, *BATCHES["train"], *BATCHES["test"])}
    archive = with_wrong_checksums(zipped(tmp_path / "cifar.zip", files), "cifar/test_batch")
    with pytest.raises(DatasetError, match="cifar/test_batch is damaged in the archive"):
        import_cifar10(archive, tmp_path / "data")
