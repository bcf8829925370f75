"""Archives of datasets: untrusted members are rejected, and an archive is unpacked completely or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.class_folders import GOOD, Pack, contents, png, tarred, write, zipped
from tests.support.paths import ROOT, SHARED_DATA
from tests.support.undecodable_names import write_file
from training.data.archives import locate_root, unpack
from training.data.dataset import load_dataset
from training.errors import DatasetError
from training.ingest.class_folders import import_class_folders
from training.recipes.data import DatasetSpec

PETS = DatasetSpec(path="pets", test="")
PETS_FILES = {f"train/{name}": name.encode() for name in ("cat/c", "cat/d", "dog/a", "dog/deep/b")}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_tar_archive_is_imported(tmp_path: Path, data: Path, mode: str) -> None:
    archive = tarred(tmp_path / "pets.tar", {f"pets/{k}": v for k, v in GOOD.items()}, mode)
    import_class_folders("pets", archive, data)
    assert contents(data / "pets") == GOOD
    assert [entry.name for entry in data.iterdir()] == ["pets"]


def test_zip_archive_is_imported(tmp_path: Path, data: Path) -> None:
    files = GOOD | {"train/犬/1.png": png(7)}
    import_class_folders("pets", zipped(tmp_path / "pets.zip", files), data)
    assert contents(data / "pets") == files


@pytest.mark.parametrize("pack", [zipped, tarred])
@pytest.mark.parametrize("name", ["../evil.png", "train/cats/../../../../evil.png", "/tmp/evil-import.png"])
def test_member_outside_the_folder_is_rejected(tmp_path: Path, data: Path, pack: Pack, name: str) -> None:
    archive = pack(tmp_path / "archive", GOOD | {name: png(7)})
    with pytest.raises(DatasetError, match="outside its folder"):
        import_class_folders("pets", archive, data)
    assert not list(data.iterdir())
    assert not list(tmp_path.rglob("evil*"))
    assert not Path("/tmp/evil-import.png").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_rejected(tmp_path: Path, data: Path, kind: bytes) -> None:
    archive = tmp_path / "links.tar"
    with tarfile.open(archive, "w") as members:
        member = tarfile.TarInfo("train/cats")
        member.type, member.linkname = kind, "/etc"
        members.addfile(member)
    with pytest.raises(DatasetError, match=r"link or device|outside its folder"):
        import_class_folders("pets", archive, data)
    assert not list(data.iterdir())


@pytest.mark.parametrize("pack", [zipped, tarred])
@pytest.mark.parametrize("share", [0, 0.3, 0.95])
def test_truncated_archive_is_rejected(tmp_path: Path, data: Path, pack: Pack, share: float) -> None:
    archive = pack(tmp_path / "archive", GOOD)
    content = archive.read_bytes()
    archive.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DatasetError, match="cannot be unpacked"):
        import_class_folders("pets", archive, data)
    assert not list(data.iterdir())


def test_file_and_folder_of_the_same_name_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot be unpacked"):
        unpack(zipped(tmp_path / "a.zip", {"a": b"", "a/b": b""}), tmp_path / "folder")


def test_shared_kangaroo_dataset_is_imported(data: Path) -> None:
    archive = SHARED_DATA / "kangaroo-wallaby.tar"
    if not archive.is_file():
        pytest.skip(f"needs {archive.name} in ../shared/data")
    report = import_class_folders("kangaroo-wallaby", archive, data)
    assert {split: sum(classes.values()) for split, classes in report.images.items()} == {
        "train": 463,
        "valid": 100,
        "test": 99,
    }
    assert sorted(item.reason for item in report.rejected) == [
        "the same image as train/kangaroos/eastern_grey_kangaroo_09.jpg",
        "the same image as train/wallabies/brush-tailed_rock-wallaby_518.jpg",
    ]


def test_shared_hostile_images_are_imported_or_rejected(tmp_path: Path, data: Path) -> None:
    archive = SHARED_DATA / "hostile-images.tar.gz"
    if not archive.is_file():
        pytest.skip(f"needs {archive.name} in ../shared/data")
    report = import_class_folders("hostile", archive, data)
    assert report.total + len(report.rejected) == 454


@pytest.mark.parametrize("wrapper", ["", "pets", "a/b"])
def test_folders_around_the_dataset_are_skipped(tmp_path: Path, wrapper: str) -> None:
    root = write(tmp_path / "around" / wrapper, PETS_FILES | {"test/cat/y": b"y"})
    write(tmp_path / "around", {".DS_Store": b"", "__MACOSX/pets/._x": b""})
    assert locate_root(tmp_path / "around", "train") == root


def test_split_alone_in_its_folder_is_not_skipped(tmp_path: Path) -> None:
    root = write(tmp_path / "pets", PETS_FILES)
    dataset = load_dataset(PETS, tmp_path)
    assert (dataset.root, dataset.class_ids, dataset.test) == (root, ("cat", "dog"), None)


def zipped_on_macos(path: Path, files: dict[str, bytes]) -> Path:
    return zipped(path, files | {"__MACOSX/._pets": b"metadata that macOS adds"})


@pytest.mark.parametrize("pack", [tarred, zipped, zipped_on_macos])
def test_archive_is_unpacked_once(tmp_path: Path, pack: Callable[[Path, dict[str, bytes]], Path]) -> None:
    archive = pack(tmp_path / "pets.archive", {f"pets/{name}": content for name, content in PETS_FILES.items()})
    cache = tmp_path / "cache"
    first = load_dataset(PETS, archive, cache=cache)
    assert first.digest == load_dataset(PETS, write(tmp_path / "folder", PETS_FILES)).digest
    Path(*first.train.images[0].parts).write_text("changed in the cache")
    second = load_dataset(PETS, archive, cache=cache)
    assert second.train.images == first.train.images
    assert second.digest != first.digest, "the archive was unpacked again"
    os.utime(archive, (1, 1))
    assert load_dataset(PETS, archive, cache=cache).root != first.root, "a changed archive was not unpacked again"


def zip_as_written(path: Path, files: dict[bytes, bytes]) -> Path:
    """Write a zip whose names are these bytes, without the flag for UTF-8, as Finder and old programs do."""
    placeholders = {name: f"{number:04}".ljust(len(name), "x") for number, name in enumerate(files)}
    content = zipped(path, {placeholders[name]: data for name, data in files.items()}).read_bytes()
    for name, placeholder in placeholders.items():
        content = content.replace(placeholder.encode(), name)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("größe/Käfer.png".encode(), "größe/Käfer.png"),
        ("Käfer/1.png".encode("cp437"), "Käfer/1.png"),
        (b"train\\cats\\1.png", "train/cats/1.png"),
    ],
)
def test_names_in_zips_are_utf8_or_cp437_with_slashes(tmp_path: Path, written: bytes, read: str) -> None:
    unpack(zip_as_written(tmp_path / "names.zip", {written: b"content"}), tmp_path / "out")
    assert contents(tmp_path / "out") == {read: b"content"}


def test_backslashes_do_not_lead_outside_the_folder(tmp_path: Path) -> None:
    archive = zip_as_written(tmp_path / "names.zip", {b"cats\\..\\..\\evil.png": b"content"})
    with pytest.raises(DatasetError, match="outside its folder"):
        unpack(archive, tmp_path / "deep" / "out")
    assert not list(tmp_path.rglob("evil*"))


def test_archive_with_a_name_that_is_not_utf8_is_unpacked(tmp_path: Path) -> None:
    archive = write_file(tmp_path, b"k\xe4fer.zip", zipped(tmp_path / "a.zip", PETS_FILES).read_bytes())
    assert contents(locate_root(archive, "train", tmp_path / "cache")) == PETS_FILES


@pytest.mark.parametrize("split", ["Training", "validation", "test_set"])
def test_split_of_another_name_alone_is_not_skipped(tmp_path: Path, split: str) -> None:
    write(tmp_path, {f"{split}/cat/1": b"1", f"{split}/dog/1": b"2"})
    assert locate_root(tmp_path, "train") == tmp_path
    assert locate_root(tmp_path, "") == tmp_path / split, "without a split to find, every folder is skipped"


KILLED_WHILE_UNPACKING = """
import sys
from pathlib import Path
from tests.support.killed import kill_at
from training.data.archives import locate_root
kill_at("open", "/.unpacking-", 3)
locate_root(Path(sys.argv[1]), "train", Path(sys.argv[2]))
"""


def test_leftovers_of_a_killed_unpacking_are_not_used(tmp_path: Path) -> None:
    archive, cache = tarred(tmp_path / "pets.tar", PETS_FILES), tmp_path / "cache"
    killed = subprocess.run([sys.executable, "-c", KILLED_WHILE_UNPACKING, archive, cache], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert list(cache.rglob("*")), "unpacking had not started"
    expected = load_dataset(PETS, write(tmp_path / "folder", PETS_FILES))
    assert load_dataset(PETS, archive, cache=cache).digest == expected.digest
    assert not list(cache.glob("archives/.*"))


def test_leftovers_of_a_damaged_archive_are_not_used(tmp_path: Path) -> None:
    archive = tarred(tmp_path / "pets.tar.gz", PETS_FILES)
    content = archive.read_bytes()
    archive.write_bytes(content[: len(content) // 2])
    for _ in range(2):
        with pytest.raises(DatasetError, match="cannot be unpacked"):
            locate_root(archive, "train", tmp_path / "cache")


def test_empty_archive_is_not_a_dataset(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no folder .*train"):
        load_dataset(PETS, tarred(tmp_path / "empty.tar", {}), cache=tmp_path / "cache")


def test_archive_is_unpacked_completely(tmp_path: Path) -> None:
    unpack(tarred(tmp_path / "pets.tar", PETS_FILES), tmp_path / "out")
    assert contents(tmp_path / "out") == PETS_FILES
