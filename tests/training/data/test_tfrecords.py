"""TFRecord shards: readable by plain TensorFlow, and equal to the class folders that they were exported from."""

from __future__ import annotations

import io
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from models.preprocess import PreprocessSpec, decode_array
from tests.support import colour_dataset
from tests.support.colour_engine import ColourEngine
from tests.support.undecodable_names import write_file
from training.data import tfrecords
from training.data.dataset import Dataset, load_dataset
from training.data.split import holdout_indices, make_split
from training.errors import DatasetError
from training.heads import features
from training.ingest.tfrecord_export import export
from training.recipes.data import DatasetSpec

SPEC = PreprocessSpec(size=colour_dataset.SIZE)
DATA = DatasetSpec(path="colours")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders with PNG files, a JPEG, nested folders, and class names."""
    folder = colour_dataset.write(tmp_path_factory.mktemp("data") / "colours", train=9, test=3)
    with Image.open(folder / "train" / "red" / "000.png") as image:
        image.save(folder / "train" / "red" / "000.jpg")
        (folder / "train" / "red" / "a" / "b").mkdir(parents=True)
        image.rotate(90).save(folder / "train" / "red" / "a" / "b" / "ä.png")
        image.rotate(180).save(folder / "train" / "red" / "a-c.png")
    (folder / "classes.tsv").write_text("red\tscarlet\nblue\tazure, sky\n")
    return folder


@pytest.fixture(scope="module")
def shards(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    to = tmp_path_factory.mktemp("shards") / "colours"
    assert export(folders, to, 3) == {"train": 39, "test": 12}
    return to


def load(folder: Path) -> Dataset:
    return load_dataset(DATA, folder)


def test_names_of_files_need_not_be_utf8(folders: Path, tmp_path: Path) -> None:
    encoded = (folders / "train" / "red" / "000.png").read_bytes()
    for label in ("blue", "red"):
        (tmp_path / "data" / "train" / label).mkdir(parents=True)
        write_file(tmp_path / "data" / "train" / label, b"caf\xe9.png", encoded + label.encode())
    (tmp_path / "data" / "train" / "green").mkdir()
    lines: list[str] = []
    export(tmp_path / "data", tmp_path / "shards", 1, on_left_out=lines.extend)
    assert lines == ["train/green: is an empty folder"]
    spec = DatasetSpec(path="colours", test="")
    exported, original = (load_dataset(spec, tmp_path / name) for name in ("shards", "data"))
    assert exported.digest == original.digest
    assert [image.name for image in exported.train.images] == [image.name for image in original.train.images]


def test_shards_have_the_usual_names(shards: Path) -> None:
    assert sorted(path.relative_to(shards).as_posix() for path in shards.rglob("*.tfrecord")) == [
        f"{split}/{split}-{number:05}-of-00003.tfrecord" for split in ("test", "train") for number in range(3)
    ]


def test_plain_tensorflow_reads_the_shards(shards: Path, folders: Path) -> None:
    layout = {
        "image/encoded": tf.io.FixedLenFeature([], tf.string),
        "image/format": tf.io.FixedLenFeature([], tf.string),
        "image/class/label": tf.io.FixedLenFeature([], tf.int64),
        "image/class/text": tf.io.FixedLenFeature([], tf.string),
        "image/filename": tf.io.FixedLenFeature([], tf.string),
    }
    files = sorted(str(path) for path in (shards / "train").iterdir())
    labels = []
    for record in tf.data.TFRecordDataset(files):
        parsed = tf.io.parse_single_example(record, layout)
        label, text = int(parsed["image/class/label"]), parsed["image/class/text"].numpy().decode()
        original = folders / "train" / text / parsed["image/filename"].numpy().decode()
        assert parsed["image/encoded"].numpy() == original.read_bytes()
        assert text == colour_dataset.CLASSES[label]
        assert parsed["image/format"].numpy() == (b"jpeg" if original.suffix == ".jpg" else b"png")
        if original.suffix == ".png":
            pixels = tf.io.decode_image(parsed["image/encoded"], channels=3)
            assert np.array_equal(pixels.numpy(), decode_array(original.read_bytes()))
        labels.append(label)
    assert len(labels) == 39
    assert labels != sorted(labels), "readers that take shards in order get one class after the other"


def test_labels_begin_with_the_classes_of_the_training_images(tmp_path: Path) -> None:
    """A class of the test images only has a label beyond the outputs of a network that was fitted on the others."""
    for folder in ("train/b", "train/d", "valid/d", "valid/e", "test/a", "test/b", "test/c"):
        (tmp_path / "data" / folder).mkdir(parents=True)
        Image.new("RGB", (2, 2)).save(tmp_path / "data" / folder / "1.png")
    export(tmp_path / "data", tmp_path / "to", 1)
    labels = {}
    for shard in (tmp_path / "to").rglob("*.tfrecord"):
        for record in tf.data.TFRecordDataset(str(shard)):
            feature = tf.train.Example.FromString(record.numpy()).features.feature
            text = feature["image/class/text"].bytes_list.value[0].decode()
            labels[shard.parent.name, text] = feature["image/class/label"].int64_list.value[0]
    assert labels == {
        ("train", "b"): 0,
        ("train", "d"): 1,
        ("valid", "d"): 1,
        ("valid", "e"): 4,
        ("test", "a"): 2,
        ("test", "b"): 0,
        ("test", "c"): 3,
    }


def test_shards_equal_the_class_folders(shards: Path, folders: Path, tmp_path: Path) -> None:
    from_shards, from_folders = load(shards), load(folders)
    assert (from_shards.class_ids, from_shards.class_names, from_shards.digest) == (
        from_folders.class_ids,
        from_folders.class_names,
        from_folders.digest,
    )
    assert from_shards.class_names == ("azure", "green", "grey", "scarlet")
    assert from_shards.train.digests == from_folders.train.digests, "in the same order"
    assert [path.name for path in from_shards.train.images] == [path.name for path in from_folders.train.images]
    assert np.array_equal(from_shards.train.labels, from_folders.train.labels)
    assert np.array_equal(holdout_indices(from_shards.train), holdout_indices(from_folders.train))
    assert from_shards.test is not None
    assert from_folders.test is not None
    assert from_shards.test.digests == from_folders.test.digests
    rows = [
        features.extract_features(data.train, colour_dataset.extractor(), "pooled", SPEC, tmp_path / name)
        for name, data in (("shards", from_shards), ("folders", from_folders))
    ]
    assert np.array_equal(rows[0], rows[1])


def test_shards_and_class_folders_share_cached_features(shards: Path, folders: Path, tmp_path: Path) -> None:
    engine = ColourEngine()
    for folder in (folders, shards):
        features.extract_features(load(folder).train, colour_dataset.extractor(engine), "pooled", SPEC, tmp_path)
    assert engine.image_count == 39, "features of the shards were not read from the cache"


def test_archive_of_shards_is_a_dataset(shards: Path, tmp_path: Path) -> None:
    archive = shutil.make_archive(str(tmp_path / "shards"), "zip", shards.parent)
    assert load_dataset(DATA, Path(archive), cache=tmp_path / "cache").digest == load(shards).digest


def test_same_images_give_the_same_shards(shards: Path, folders: Path, tmp_path: Path) -> None:
    export(folders, tmp_path / "again", 3)
    for path in shards.rglob("*.tfrecord"):
        assert (tmp_path / "again" / path.relative_to(shards)).read_bytes() == path.read_bytes()


def test_other_formats_are_stored_as_lossless_png(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 4), np.uint8)
    for split, name in (("train", "a"), ("train", "b"), ("valid", "a"), ("valid", "new")):
        folder = tmp_path / "data" / split / name
        folder.mkdir(parents=True)
        Image.fromarray(pixels).save(folder / "image.webp")
    assert export(tmp_path / "data", tmp_path / "to", 8) == {"train": 2, "valid": 2}, "more shards than images"
    (record,) = tfrecords.records_by_class((tmp_path / "to" / "valid").iterdir())["new"]
    content = record.read_bytes()
    with Image.open(io.BytesIO(content)) as image:
        assert image.format == "PNG"
    assert np.array_equal(decode_array(content), decode_array((tmp_path / "data/train/a/image.webp").read_bytes()))
    assert tfrecords.records_by_class((tmp_path / "to" / "train").iterdir()).keys() == {"a", "b"}


def test_file_that_is_not_an_image_fails_the_export_and_leaves_nothing(tmp_path: Path) -> None:
    folder = colour_dataset.write(tmp_path / "colours", train=2, test=1)
    (folder / "train" / "red" / "notes.txt").write_text("red")
    with pytest.raises(DatasetError, match=r"notes\.txt: This is not an image"):
        export(folder, tmp_path / "to", 2)
    assert [path.name for path in tmp_path.iterdir()] == ["colours"]


def test_existing_folder_is_replaced_only_on_request(shards: Path, folders: Path, tmp_path: Path) -> None:
    to = shutil.copytree(shards, tmp_path / "to")
    with pytest.raises(DatasetError, match=r"already exists.*--replace"):
        export(folders, to, 1)
    export(folders, to, 1, replace=True)
    assert len(list(to.rglob("*.tfrecord"))) == 2


def write(path: Path, *values: dict[str, bytes | int]) -> Path:
    """Write a shard like one of another program."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in values:
            message = tf.train.Example()
            for name, value in record.items():
                if isinstance(value, int):
                    message.features.feature[name].int64_list.value.append(value)
                else:
                    message.features.feature[name].bytes_list.value.append(value)
            writer.write(message.SerializeToString())
    return path


def test_shards_of_other_programs_are_read_by_label(tmp_path: Path) -> None:
    records: list[dict[str, bytes | int]] = [
        {"image/encoded": bytes([number]) * 20, "image/class/label": number % 11} for number in range(22)
    ]
    write(tmp_path / "data" / "train" / "x-train.tfrecord-00000-of-00001", *records)
    data = load_dataset(DatasetSpec(path="x", test="", names={"00003": "cat"}), tmp_path / "data")
    assert data.class_ids[:2] == ("00000", "00001")
    assert data.class_ids[-1] == "00010"
    assert data.class_names[3] == "cat"
    assert [path.read_bytes()[0] for path in data.train.images][:4] == [0, 11, 1, 12]


def test_first_of_several_labels_is_the_class(tmp_path: Path) -> None:
    message = tf.train.Example()
    message.features.feature["image/encoded"].bytes_list.value.append(b"image")
    message.features.feature["image/class/label"].int64_list.value.extend([3, 7])
    path = tmp_path / "data" / "train" / "x-train.tfrecord-00000-of-00001"
    path.parent.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(message.SerializeToString())
    assert load_dataset(DatasetSpec(path="x", test=""), tmp_path / "data").class_ids == ("00003",)


@pytest.mark.parametrize("missing", ["image/encoded", "both"])
def test_records_that_are_not_labelled_images_are_rejected(tmp_path: Path, missing: str) -> None:
    record: dict[str, bytes | int] = {"image/encoded": b"1", "image/class/label": 1, "image/class/text": b"one"}
    if missing == "both":
        del record["image/class/label"], record["image/class/text"]
    else:
        del record[missing]
    shard = write(tmp_path / "0.tfrecord", record)
    with pytest.raises(
        DatasetError, match=r"Record 0 of .*0\.tfrecord is not a labelled image. It needs image/encoded, and"
    ):
        tfrecords.records_by_class([shard])


@pytest.mark.parametrize("damage", ["cut", "changed", "compressed"])
def test_damaged_shard_gives_a_one_line_error(shards: Path, tmp_path: Path, damage: str) -> None:
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
    with pytest.raises(DatasetError, match=r"train-00001-of-00003\.tfrecord is damaged or compressed") as caught:
        load(tmp_path / "to")
    assert "\n" not in str(caught.value)


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    size, count = 200_000, 90
    images: list[dict[str, bytes | int]] = [
        {"image/encoded": np.random.default_rng(number).bytes(size), "image/class/text": b"a"}
        for number in range(count)
    ]
    shard = write(tmp_path / "shard.tfrecord", *images)
    del images
    tracemalloc.start()
    split = make_split(tfrecords.records_by_class([shard]), ["a"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(split) == count
    assert peak < count * size / 4, "more than one image per thread was kept in memory"
