"""Somebody's own folder, with all that people's folders hold, becomes a dataset that leaks nothing."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.console.progress import silent
from tests.support.class_folders import tarred, write, zipped
from training.data.dataset import Split
from training.errors import DatasetError
from training.ingest.photo_folder import Photographs, gather


def photo(seed: int, kind: str = "PNG", side: int = 64) -> bytes:
    """A picture that looks like that of no other seed, whatever its format and size."""
    patches = np.random.default_rng(seed).integers(0, 256, (9, 8, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(patches).resize((side, side), Image.Resampling.BICUBIC).save(buffer, kind)
    return buffer.getvalue()


def album(**classes: Sequence[int]) -> dict[str, bytes]:
    return {f"{label}/{seed:03}.png": photo(seed) for label, seeds in classes.items() for seed in seeds}


PETS = album(cats=range(10), dogs=range(20, 35))


def gathered(folder: Path, files: dict[str, bytes]) -> Photographs:
    return gather(write(folder / "pets", files), folder / "cache", silent)


def names(split: Split | None) -> set[str]:
    return {image.name for image in split.paths} if split else set()


def test_a_fifth_of_each_class_is_held_back_and_always_the_same(tmp_path: Path) -> None:
    found = gathered(tmp_path, PETS)
    assert found.data.names == ("cats", "dogs")
    assert found.data.test is not None
    assert np.bincount(found.data.train.labels).tolist() == [8, 12]
    assert np.bincount(found.data.test.labels).tolist() == [2, 3]
    assert not names(found.data.train) & names(found.data.test)
    assert (found.left_out, found.notes) == ((), ())
    assert gathered(tmp_path / "again", PETS).data.digest == found.data.digest


def test_near_duplicates_are_on_one_side(tmp_path: Path) -> None:
    copies = {f"cats/{seed:03}_small.jpg": photo(seed, "JPEG", 40) for seed in range(10)}
    found = gathered(tmp_path, PETS | copies)
    sides = [{name[:3] for name in names(split)} for split in (found.data.train, found.data.test)]
    assert not sides[0] & sides[1]
    of_group: dict[int, set[str]] = {}
    for image, group in zip(found.data.train.paths, found.groups.tolist(), strict=True):
        of_group.setdefault(group, set()).add(image.name[:3])
    assert all(len(seeds) == 1 for seeds in of_group.values())
    assert len(of_group) == 8 + 12


def test_splits_that_are_there_are_kept_and_what_would_leak_is_left_out(tmp_path: Path) -> None:
    train = {f"train/{name}": content for name, content in PETS.items()}
    test = {f"test/{name}": content for name, content in album(cats=[50, 51], dogs=[60]).items()}
    more = {f"val/{name}": content for name, content in album(cats=[70], dogs=[80]).items()}
    leak = {"train/cats/leak.jpg": photo(50, "JPEG", 40)}
    found = gathered(tmp_path, train | test | more | leak)
    assert names(found.data.test) == {"050.png", "051.png", "060.png"}
    assert names(found.data.valid) == {"070.png", "080.png"}
    assert len(found.data.train) == len(found.groups) == 25
    assert found.left_out == ("train/cats/leak.jpg: looks like test/cats/050.png, which it is measured with",)


def test_a_train_folder_alone_is_divided(tmp_path: Path) -> None:
    found = gathered(tmp_path, {f"train/{name}": content for name, content in PETS.items()})
    assert found.data.test is not None
    assert (len(found.data.train), len(found.data.test)) == (20, 5)


def test_everything_that_cannot_be_used_is_told_in_a_line(tmp_path: Path) -> None:
    odd = {
        "cats/broken.jpg": photo(1, "JPEG")[:200],
        "cats/empty.png": b"",
        "cats/notes.txt": b"my cats",
        "cats/copy.png": photo(0),
        "dogs/both.png": photo(90),
        "cats/both.png": photo(90),
        "loose.png": photo(91),
        "goldfish/only.png": photo(92),
        "geckos/1.txt": b"none yet",
    }
    found = gathered(tmp_path, PETS | odd)
    told = dict(line.split(": ", 1) for line in found.left_out)
    assert "cut short or damaged" in told["cats/broken.jpg"]
    assert "empty" in told["cats/empty.png"]
    assert "not an image" in told["cats/notes.txt"]
    assert told["cats/copy.png"] == "the same image as cats/000.png"
    assert told["cats/both.png"] == "the same image under two labels: also dogs/both.png"
    assert told["dogs/both.png"] == "the same image under two labels: also cats/both.png"
    assert told["loose.png"] == "lies in no class folder"
    assert found.notes == ("goldfish: left out, it has 1 usable pictures to learn from and needs 3",)
    assert found.data.names == ("cats", "dogs")
    assert all("\n" not in line for line in (*found.left_out, *found.notes))


def test_a_picture_that_looks_like_one_of_another_class_is_told_and_used(tmp_path: Path) -> None:
    found = gathered(tmp_path, PETS | {"dogs/cat.jpg": photo(0, "JPEG", 40)})
    assert found.notes == ("cats/000.png and dogs/cat.jpg look alike, under two labels; both are used",)
    assert found.data.test is not None
    assert len(found.data.train) + len(found.data.test) == 26


def test_a_class_whose_pictures_all_look_alike_is_parted_all_the_same(tmp_path: Path) -> None:
    burst = {f"moon/{side}.png": photo(40, side=side) for side in range(50, 56)}
    found = gathered(tmp_path, PETS | burst)
    assert found.notes == ("moon: its 6 pictures look alike, so what is measured on them is too good",)
    assert found.data.test is not None
    assert [int((split.labels == 2).sum()) for split in (found.data.train, found.data.test)] == [5, 1]


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_archives_nested_folders_and_names_of_any_script(tmp_path: Path, pack: object) -> None:
    files = album(кошки=range(5), 犬=range(20, 25))
    files = {f"fotos/{name.replace('/', '/ältere/2023/')}": content for name, content in files.items()}
    assert callable(pack)
    found = gather(pack(tmp_path / "fotos.bin", files), tmp_path / "cache", silent)
    assert found.data.names == ("кошки", "犬")
    assert len(found.data.train) == 8


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, "holds no folders of images"),
        ({"1.png": photo(1)}, "holds no folders of images"),
        (album(cats=range(9)), "holds no folders of images"),
        (
            album(cats=range(9), dogs=[20]),
            "only 'cats', two are needed, each a folder. The first reason: dogs:",
        ),
        (album(cats=[1], dogs=[2]), "none, two are needed, each a folder. The first reason: cats: left out, it has 1"),
        ({"cats/1.txt": b"x", "dogs/2.txt": b"y"}, "The first reason: cats/1.txt: This is not an image"),
        (album(**{"test/cats": [1], "valid/cats": [2]}), "none, two are needed"),
    ],
    ids=[
        "nothing",
        "no folders",
        "one class",
        "one class that is large enough",
        "one picture each",
        "no pictures",
        "no train",
    ],
)
def test_what_makes_no_dataset_is_one_line(tmp_path: Path, files: dict[str, bytes], expected: str) -> None:
    (tmp_path / "pets").mkdir()
    with pytest.raises(DatasetError) as refused:
        gathered(tmp_path, files)
    assert expected in str(refused.value)
    assert "\n" not in str(refused.value)
