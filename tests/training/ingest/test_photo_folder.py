"""A user's folder, with all its odd files, becomes a dataset without leaks between its splits."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.console.progress import silent
from tests.support.class_folders import tarred, write, zipped
from tests.support.undecodable_names import write_file
from training.data.split import Split
from training.errors import DatasetError
from training.ingest.photo_folder import PhotoFolder, read_photo_folder


def encoded_image(seed: int, kind: str = "PNG", side: int = 64) -> bytes:
    """Encode an image that looks the same in every format and size, and different for every seed."""
    patches = np.random.default_rng(seed).integers(0, 256, (9, 8, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(patches).resize((side, side), Image.Resampling.BICUBIC).save(buffer, kind)
    return buffer.getvalue()


def class_folders(**classes: Sequence[int]) -> dict[str, bytes]:
    return {f"{label}/{seed:03}.png": encoded_image(seed) for label, seeds in classes.items() for seed in seeds}


#: Splits of unknown names.
PARTS = [(part, label) for part in (1, 2) for label in ("cats", "dogs")]
PETS = class_folders(cats=range(10), dogs=range(20, 35))


def read(folder: Path, files: dict[str, bytes]) -> PhotoFolder:
    return read_photo_folder(write(folder / "pets", files), folder / "cache", silent)


def names(split: Split | None) -> set[str]:
    return {image.name for image in split.images} if split else set()


def test_fixed_fifth_of_each_class_becomes_the_test_set(tmp_path: Path) -> None:
    photos = read(tmp_path, PETS)
    assert photos.dataset.class_names == ("cats", "dogs")
    assert photos.dataset.test is not None
    assert np.bincount(photos.dataset.train.labels).tolist() == [8, 12]
    assert np.bincount(photos.dataset.test.labels).tolist() == [2, 3]
    assert not names(photos.dataset.train) & names(photos.dataset.test)
    assert (photos.left_out, photos.notes) == ((), ())
    assert read(tmp_path / "again", PETS).dataset.digest == photos.dataset.digest


def test_near_duplicates_stay_in_one_split(tmp_path: Path) -> None:
    copies = {f"cats/{seed:03}_small.jpg": encoded_image(seed, "JPEG", 40) for seed in range(10)}
    photos = read(tmp_path, PETS | copies)
    seeds_of = [{name[:3] for name in names(split)} for split in (photos.dataset.train, photos.dataset.test)]
    assert not seeds_of[0] & seeds_of[1]
    of_group: dict[int, set[str]] = {}
    for image, group in zip(photos.dataset.train.images, photos.groups.tolist(), strict=True):
        of_group.setdefault(group, set()).add(image.name[:3])
    assert all(len(seeds) == 1 for seeds in of_group.values())
    assert len(of_group) == 8 + 12


def test_existing_splits_are_kept_and_leaks_are_left_out(tmp_path: Path) -> None:
    train = {f"train/{name}": content for name, content in PETS.items()}
    test = {f"test/{name}": content for name, content in class_folders(cats=[50, 51], dogs=[60]).items()}
    more = {f"val/{name}": content for name, content in class_folders(cats=[70], dogs=[80]).items()}
    leaks = {f"train/cats/leak-{seed}.jpg": encoded_image(seed, "JPEG", 40) for seed in (50, 70)}
    photos = read(tmp_path, train | test | more | leaks)
    assert names(photos.dataset.test) == {"050.png", "051.png", "060.png"}
    assert names(photos.dataset.valid) == {"070.png", "080.png"}
    assert len(photos.dataset.train) == len(photos.groups) == 25
    assert photos.left_out == (
        "train/cats/leak-50.jpg: looks like test/cats/050.png in the test split",
        "train/cats/leak-70.jpg: looks like val/cats/070.png in the valid split",
    )


@pytest.mark.parametrize(
    ("train", "other", "role"), [("Training", "val", "valid"), ("training_set", "Test_Set", "test")]
)
def test_splits_of_other_names_are_kept(tmp_path: Path, train: str, other: str, role: str) -> None:
    files = {f"{train}/{name}": content for name, content in PETS.items()}
    measured = {f"{other}/{name}": content for name, content in class_folders(cats=[50, 51], dogs=[60]).items()}
    dataset = read(tmp_path, files | measured).dataset
    assert dataset.class_names == ("cats", "dogs")
    assert len(dataset.train) == 25
    assert {"valid": names(dataset.valid), "test": names(dataset.test)} == {
        "valid": set(),
        "test": set(),
    } | {role: {"050.png", "051.png", "060.png"}}


def test_entries_that_are_no_files_are_reported(tmp_path: Path) -> None:
    folder = write(tmp_path / "pets", PETS)
    (folder / "birds").mkdir()
    (folder / "dogs" / "more").symlink_to(write(tmp_path / "elsewhere", {"1.png": encoded_image(77)}))
    (folder / "cats" / "gone.png").symlink_to(tmp_path / "nowhere")
    assert read_photo_folder(folder, tmp_path / "cache", silent).left_out == (
        "birds: is an empty folder",
        "cats/gone.png: is a link that leads nowhere",
        "dogs/more: is a link to a folder, and links to folders are not followed",
    )


def test_files_whose_names_are_not_utf8_are_used_or_reported(tmp_path: Path) -> None:
    folder = write(tmp_path / "pets", PETS)
    write_file(folder / "cats", b"caf\xe9.png", encoded_image(77))
    write_file(folder / "cats", b"caf\xe8.txt", b"not an image")
    photos = read_photo_folder(folder, tmp_path / "cache", silent)
    assert [line.partition(": ")[0] for line in photos.left_out] == [r"cats/caf\xe8.txt"]
    assert photos.dataset.test is not None
    assert len(photos.dataset.train) + len(photos.dataset.test) == 26


def test_train_folder_alone_is_split(tmp_path: Path) -> None:
    photos = read(tmp_path, {f"train/{name}": content for name, content in PETS.items()})
    assert photos.dataset.test is not None
    assert (len(photos.dataset.train), len(photos.dataset.test)) == (20, 5)


def test_every_unusable_file_is_reported_in_one_line(tmp_path: Path) -> None:
    odd = {
        "cats/broken.jpg": encoded_image(1, "JPEG")[:200],
        "cats/empty.png": b"",
        "cats/notes.txt": b"my cats",
        "cats/copy.png": encoded_image(0),
        "dogs/both.png": encoded_image(90),
        "cats/both.png": encoded_image(90),
        "loose.png": encoded_image(91),
        "goldfish/only.png": encoded_image(92),
        "geckos/1.txt": b"none yet",
    }
    photos = read(tmp_path, PETS | odd)
    reasons = dict(line.split(": ", 1) for line in photos.left_out)
    assert "truncated or damaged" in reasons["cats/broken.jpg"]
    assert "empty" in reasons["cats/empty.png"]
    assert "not an image" in reasons["cats/notes.txt"]
    assert reasons["cats/copy.png"] == "the same image as cats/000.png"
    assert reasons["cats/both.png"] == "the same image under two labels: also dogs/both.png"
    assert reasons["dogs/both.png"] == "the same image under two labels: also cats/both.png"
    assert reasons["loose.png"] == "is not in a class folder"
    assert reasons["geckos"] == "is a class folder without usable images"
    assert photos.notes == ("class goldfish is left out: it has 1 usable training images and needs 3",)
    assert photos.dataset.class_names == ("cats", "dogs")
    assert all("\n" not in line for line in (*photos.left_out, *photos.notes))


def test_near_duplicates_with_different_labels_are_noted_and_used(tmp_path: Path) -> None:
    photos = read(tmp_path, PETS | {"dogs/cat.jpg": encoded_image(0, "JPEG", 40)})
    assert photos.notes == ("cats/000.png and dogs/cat.jpg look alike but have different labels; both are used",)
    assert photos.dataset.test is not None
    assert len(photos.dataset.train) + len(photos.dataset.test) == 26


def test_class_of_near_duplicates_is_still_split(tmp_path: Path) -> None:
    burst = {f"moon/{side}.png": encoded_image(40, side=side) for side in range(50, 56)}
    photos = read(tmp_path, PETS | burst)
    assert photos.notes == ("class moon: its 6 images look alike, so its measured accuracy is too high",)
    assert photos.dataset.test is not None
    assert [int((split.labels == 2).sum()) for split in (photos.dataset.train, photos.dataset.test)] == [5, 1]


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_archive_with_nested_folders_and_non_latin_names(tmp_path: Path, pack: object) -> None:
    files = class_folders(кошки=range(5), 犬=range(20, 25))
    files = {f"photos/{name.replace('/', '/ältere/2023/')}": content for name, content in files.items()}
    assert callable(pack)
    photos = read_photo_folder(pack(tmp_path / "photos.bin", files), tmp_path / "cache", silent)
    assert photos.dataset.class_names == ("кошки", "犬")
    assert len(photos.dataset.train) == 8


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, "holds no folders of images"),
        ({"1.png": encoded_image(1)}, "holds no folders of images"),
        (
            class_folders(**{f"part{part}/{label}": [seed] for seed, (part, label) in enumerate(PARTS)}),
            "the folders part1, part2 contain the same folders (cats, dogs)",
        ),
        (class_folders(cats=range(9)), "holds no folders of images"),
        (
            class_folders(cats=range(9), dogs=[20]),
            "but has only 'cats'. First problem: class dogs is left out",
        ),
        (class_folders(cats=[1], dogs=[2]), "but has none. First problem: class cats is left out: it has 1"),
        ({"cats/1.txt": b"x", "dogs/2.txt": b"y"}, "First problem: cats/1.txt: This is not an image"),
        (class_folders(**{"test/cats": [1], "valid/cats": [2]}), "but has none"),
    ],
    ids=[
        "empty folder",
        "no class folders",
        "splits of unknown names",
        "one class",
        "one class of sufficient size",
        "one image per class",
        "no images",
        "no training images",
    ],
)
def test_unusable_folder_gives_a_one_line_error(tmp_path: Path, files: dict[str, bytes], expected: str) -> None:
    (tmp_path / "pets").mkdir()
    with pytest.raises(DatasetError) as caught:
        read(tmp_path, files)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
