"""Archives of class folders: what is in them is not trusted, and nothing half-done stays."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from tests.support.class_folders import GOOD, Pack, contents, png, tarred, zipped
from tests.support.paths import SHARED_DATA
from training.data.archives import unpack
from training.errors import DatasetError
from training.ingest.class_folders import import_folders


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_tar(tmp_path: Path, data: Path, mode: str) -> None:
    import_folders("pets", tarred(tmp_path / "pets.tar", {f"pets/{k}": v for k, v in GOOD.items()}, mode), data)
    assert contents(data / "pets") == GOOD
    assert [entry.name for entry in data.iterdir()] == ["pets"]


def test_zip(tmp_path: Path, data: Path) -> None:
    files = GOOD | {"train/犬/1.png": png(7)}
    import_folders("pets", zipped(tmp_path / "pets.zip", files), data)
    assert contents(data / "pets") == files


@pytest.mark.parametrize("pack", [zipped, tarred])
@pytest.mark.parametrize("name", ["../evil.png", "train/cats/../../../../evil.png", "/tmp/evil-import.png"])
def test_member_outside_is_refused(tmp_path: Path, data: Path, pack: Pack, name: str) -> None:
    archive = pack(tmp_path / "archive", GOOD | {name: png(7)})
    with pytest.raises(DatasetError, match="outside its folder"):
        import_folders("pets", archive, data)
    assert not list(data.iterdir())
    assert not list(tmp_path.rglob("evil*"))
    assert not Path("/tmp/evil-import.png").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, data: Path, kind: bytes) -> None:
    archive = tmp_path / "links.tar"
    with tarfile.open(archive, "w") as members:
        member = tarfile.TarInfo("train/cats")
        member.type, member.linkname = kind, "/etc"
        members.addfile(member)
    with pytest.raises(DatasetError, match=r"link or device|outside its folder"):
        import_folders("pets", archive, data)
    assert not list(data.iterdir())


@pytest.mark.parametrize("pack", [zipped, tarred])
@pytest.mark.parametrize("share", [0, 0.3, 0.95])
def test_archive_cut_short(tmp_path: Path, data: Path, pack: Pack, share: float) -> None:
    archive = pack(tmp_path / "archive", GOOD)
    content = archive.read_bytes()
    archive.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DatasetError, match="cannot be unpacked"):
        import_folders("pets", archive, data)
    assert not list(data.iterdir())


def test_file_and_folder_of_one_name(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot be unpacked"):
        unpack(zipped(tmp_path / "a.zip", {"a": b"", "a/b": b""}), tmp_path / "folder")


def test_shared_photographs(data: Path) -> None:
    archive = SHARED_DATA / "kangaroo-wallaby.tar"
    if not archive.is_file():
        pytest.skip(f"needs {archive.name} in ../shared/data")
    report = import_folders("kangaroo-wallaby", archive, data)
    assert {split: sum(classes.values()) for split, classes in report.images.items()} == {
        "train": 463,
        "valid": 100,
        "test": 99,
    }
    assert sorted(item.reason for item in report.rejected) == [
        "the same image as train/kangaroos/eastern_grey_kangaroo_09.jpg",
        "the same image as train/wallabies/brush-tailed_rock-wallaby_518.jpg",
    ]


def test_shared_hostile_images(tmp_path: Path, data: Path) -> None:
    archive = SHARED_DATA / "hostile-images.tar.gz"
    if not archive.is_file():
        pytest.skip(f"needs {archive.name} in ../shared/data")
    report = import_folders("hostile", archive, data)
    assert report.total + len(report.rejected) == 454
