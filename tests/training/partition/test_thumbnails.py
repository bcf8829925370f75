"""Near duplicates are found among all images of a run; each image is decoded once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.data.split import Split
from training.errors import DatasetError
from training.partition.thumbnails import group_by_look


def scene(seed: int, side: int) -> Image.Image:
    patches = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), np.uint8)
    return Image.fromarray(patches).resize((side, side), Image.Resampling.BICUBIC)


class CountedImage:
    """A file that counts how often it is read."""

    def __init__(self, path: Path) -> None:
        self.path, self.reads = path, 0
        self.name, self.parts = path.name, path.parts

    def __str__(self) -> str:
        return str(self.path)

    def read_bytes(self) -> bytes:
        self.reads += 1
        return self.path.read_bytes()


def write(folder: Path) -> list[CountedImage]:
    """Write three scenes, each also smaller and recompressed."""
    for seed in range(3):
        scene(seed, 120).save(folder / f"{seed}.png")
        scene(seed, 90).save(folder / f"{seed}.jpg", quality=40)
    return [CountedImage(path) for path in sorted(folder.iterdir())]


def split_of(images: list[CountedImage]) -> Split:
    digests = tuple(image.name.encode().hex().rjust(64, "0") for image in images)
    return Split(tuple(images), np.zeros(len(images), np.int64), digests)


def test_images_that_look_alike_have_one_group_across_splits(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    images = write(tmp_path / "images")
    splits = [split_of(images[::2]), split_of(images[1::2])]
    groups = group_by_look(splits, tmp_path / "cache")
    numbers = [groups[digest] for split in splits for digest in split.digests]
    assert numbers[:3] == numbers[3:]
    assert len(set(numbers)) == 3


def test_image_is_decoded_once_for_all_runs(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    images = write(tmp_path / "images")
    first = group_by_look([split_of(images[:4]), split_of(images[2:4])], tmp_path / "cache")
    both = group_by_look([split_of(images)], tmp_path / "cache")
    assert [image.reads for image in images] == [1] * 6
    assert len(both) == 6
    assert len(first) == 4


def test_unreadable_images_are_listed_together(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "images" / name).write_bytes(b"no image")
    images = [CountedImage(path) for path in sorted((tmp_path / "images").iterdir())]
    with pytest.raises(DatasetError, match=r"(?s)2 files are not readable images.*a\.png.*b\.png"):
        group_by_look([split_of(images)], tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
