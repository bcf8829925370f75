"""TFRecord shards: read by plain TensorFlow, and as the dataset of the class folders that they came from."""

from __future__ import annotations

import io
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from models.arrays import decode_array
from models.preprocess import PreprocessSpec
from tests.support import drawn
from training.data import dataset as datasets
from training.data import tfrecords
from training.data.dataset import Dataset
from training.errors import DatasetError
from training.heads import features
from training.ingest.tfrecord_export import export
from training.recipes.schema import Data

SPEC = PreprocessSpec(size=drawn.SIZE)
DATA = Data(path="colours")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders with PNG files, a JPEG, a folder in a folder, and plain names."""
    folder = drawn.colours(tmp_path_factory.mktemp("data") / "colours", train=9, test=3)
    with Image.open(folder / "train" / "red" / "000.png") as picture:
        picture.save(folder / "train" / "red" / "000.jpg")
        (folder / "train" / "red" / "a" / "b").mkdir(parents=True)
        picture.rotate(90).save(folder / "train" / "red" / "a" / "b" / "ä.png")
        picture.rotate(180).save(folder / "train" / "red" / "a-c.png")
    (folder / "classes.tsv").write_text("red\tscarlet\nblue\tazure, sky\n")
    return folder


@pytest.fixture(scope="module")
def shards(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    to = tmp_path_factory.mktemp("shards") / "colours"
    assert export(folders, to, 3) == {"train": 39, "test": 12}
    return to


def load(folder: Path) -> Dataset:
    return datasets.load(DATA, folder)


def test_shards_are_named_as_usual(shards: Path) -> None:
    assert sorted(path.relative_to(shards).as_posix() for path in shards.rglob("*.tfrecord")) == [
        f"{split}/{split}-{number:05}-of-00003.tfrecord" for split in ("test", "train") for number in range(3)
    ]


def test_plain_tensorflow_reads_them(shards: Path, folders: Path) -> None:
    layout = {
        "image/encoded": tf.io.FixedLenFeature([], tf.string),
        "image/format": tf.io.FixedLenFeature([], tf.string),
        "image/class/label": tf.io.FixedLenFeature([], tf.int64),
        "image/class/text": tf.io.FixedLenFeature([], tf.string),
        "image/filename": tf.io.FixedLenFeature([], tf.string),
    }
    files = sorted(str(path) for path in (shards / "train").iterdir())
    seen = []
    for record in tf.data.TFRecordDataset(files):
        found = tf.io.parse_single_example(record, layout)
        label, text = int(found["image/class/label"]), found["image/class/text"].numpy().decode()
        original = folders / "train" / text / found["image/filename"].numpy().decode()
        assert found["image/encoded"].numpy() == original.read_bytes()
        assert text == drawn.CLASSES[label]
        assert found["image/format"].numpy() == (b"jpeg" if original.suffix == ".jpg" else b"png")
        if original.suffix == ".png":
            pixels = tf.io.decode_image(found["image/encoded"], channels=3)
            assert np.array_equal(pixels.numpy(), decode_array(original.read_bytes()))
        seen.append(label)
    assert len(seen) == 39
    assert seen != sorted(seen), "readers that take shards in order get the classes mixed"


def test_they_are_the_dataset_of_the_class_folders(shards: Path, folders: Path, tmp_path: Path) -> None:
    ours, theirs = load(shards), load(folders)
    assert (ours.ids, ours.names, ours.digest) == (theirs.ids, theirs.names, theirs.digest)
    assert ours.names == ("azure", "green", "grey", "scarlet")
    assert ours.train.digests == theirs.train.digests, "in the same order"
    assert [path.name for path in ours.train.paths] == [path.name for path in theirs.train.paths]
    assert np.array_equal(ours.train.labels, theirs.train.labels)
    assert np.array_equal(datasets.holdout(ours.train), datasets.holdout(theirs.train))
    assert ours.test is not None
    assert theirs.test is not None
    assert ours.test.digests == theirs.test.digests
    rows = [
        features.extract(data.train, drawn.extractor(), "pooled", SPEC, tmp_path / name)
        for name, data in (("shards", ours), ("folders", theirs))
    ]
    assert np.array_equal(rows[0], rows[1])


def test_features_of_the_one_are_features_of_the_other(shards: Path, folders: Path, tmp_path: Path) -> None:
    engine = drawn.MeanColour()
    for folder in (folders, shards):
        features.extract(load(folder).train, drawn.extractor(engine), "pooled", SPEC, tmp_path)
    assert engine.seen == 39, "the second time they lie in the cache"


def test_an_archive_of_shards_is_a_dataset_too(shards: Path, tmp_path: Path) -> None:
    archive = shutil.make_archive(str(tmp_path / "shards"), "zip", shards.parent)
    assert datasets.load(DATA, Path(archive), cache=tmp_path / "cache").digest == load(shards).digest


def test_the_same_images_give_the_same_shards(shards: Path, folders: Path, tmp_path: Path) -> None:
    export(folders, tmp_path / "again", 3)
    for path in shards.rglob("*.tfrecord"):
        assert (tmp_path / "again" / path.relative_to(shards)).read_bytes() == path.read_bytes()


def test_other_formats_become_png_without_loss(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 4), np.uint8)
    for split, name in (("train", "a"), ("train", "b"), ("valid", "a"), ("valid", "new")):
        folder = tmp_path / "data" / split / name
        folder.mkdir(parents=True)
        Image.fromarray(pixels).save(folder / "picture.webp")
    assert export(tmp_path / "data", tmp_path / "to", 8) == {"train": 2, "valid": 2}, "no more shards than images"
    (record,) = tfrecords.records_by_class((tmp_path / "to" / "valid").iterdir())["new"]
    content = record.read_bytes()
    with Image.open(io.BytesIO(content)) as image:
        assert image.format == "PNG"
    assert np.array_equal(decode_array(content), decode_array((tmp_path / "data/train/a/picture.webp").read_bytes()))
    assert tfrecords.records_by_class((tmp_path / "to" / "train").iterdir()).keys() == {"a", "b"}


def test_a_file_that_is_no_image_stops_the_export_and_leaves_nothing(tmp_path: Path) -> None:
    folder = drawn.colours(tmp_path / "colours", train=2, test=1)
    (folder / "train" / "red" / "notes.txt").write_text("red")
    with pytest.raises(DatasetError, match=r"notes\.txt: This is not an image"):
        export(folder, tmp_path / "to", 2)
    assert [path.name for path in tmp_path.iterdir()] == ["colours"]


def test_nothing_is_written_over_unless_asked_for(shards: Path, folders: Path, tmp_path: Path) -> None:
    to = shutil.copytree(shards, tmp_path / "to")
    with pytest.raises(DatasetError, match=r"exists already.*--replace"):
        export(folders, to, 1)
    export(folders, to, 1, replace=True)
    assert len(list(to.rglob("*.tfrecord"))) == 2


def write(path: Path, *values: dict[str, bytes | int]) -> Path:
    """Shards as other programs make them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for features_ in values:
            message = tf.train.Example()
            for name, value in features_.items():
                if isinstance(value, int):
                    message.features.feature[name].int64_list.value.append(value)
                else:
                    message.features.feature[name].bytes_list.value.append(value)
            writer.write(message.SerializeToString())
    return path


def test_shards_of_others_are_read_by_their_labels_alone(tmp_path: Path) -> None:
    records: list[dict[str, bytes | int]] = [
        {"image/encoded": bytes([number]) * 20, "image/class/label": number % 11} for number in range(22)
    ]
    write(tmp_path / "data" / "train" / "x-train.tfrecord-00000-of-00001", *records)
    data = datasets.load(Data(path="x", test="", names={"00003": "cat"}), tmp_path / "data")
    assert data.ids[:2] == ("00000", "00001")
    assert data.ids[-1] == "00010"
    assert data.names[3] == "cat"
    assert [path.read_bytes()[0] for path in data.train.paths][:4] == [0, 11, 1, 12]


@pytest.mark.parametrize("missing", ["image/encoded", "both"])
def test_records_of_something_else_are_refused(tmp_path: Path, missing: str) -> None:
    record: dict[str, bytes | int] = {"image/encoded": b"1", "image/class/label": 1, "image/class/text": b"one"}
    if missing == "both":
        del record["image/class/label"], record["image/class/text"]
    else:
        del record[missing]
    shard = write(tmp_path / "0.tfrecord", record)
    with pytest.raises(DatasetError, match=r"Record 0 of .*0\.tfrecord is no labelled image: image/encoded and"):
        tfrecords.records_by_class([shard])


@pytest.mark.parametrize("damage", ["cut", "changed", "compressed"])
def test_a_damaged_shard_is_refused_in_one_line(shards: Path, tmp_path: Path, damage: str) -> None:
    shutil.copytree(shards, tmp_path / "to")
    path = tmp_path / "to" / "train" / "train-00001-of-00003.tfrecord"
    content = bytearray(path.read_bytes())
    if damage == "cut":
        del content[-7:]
    elif damage == "changed":
        content[len(content) // 2] ^= 1
    else:
        with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
            writer.write(bytes(content))
        content = bytearray(path.read_bytes())
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"train-00001-of-00003\.tfrecord is damaged or compressed") as refused:
        load(tmp_path / "to")
    assert "\n" not in str(refused.value)


def test_memory_does_not_grow_with_the_images(tmp_path: Path) -> None:
    size, count = 200_000, 90
    images: list[dict[str, bytes | int]] = [
        {"image/encoded": np.random.default_rng(number).bytes(size), "image/class/text": b"a"}
        for number in range(count)
    ]
    shard = write(tmp_path / "shard.tfrecord", *images)
    del images
    tracemalloc.start()
    found = datasets.split(tfrecords.records_by_class([shard]), ["a"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) == count
    assert peak < count * size / 4, "more is held than each thread's own image"
