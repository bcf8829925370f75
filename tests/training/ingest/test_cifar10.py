"""Import of CIFAR-10 from an archive in the official format, downloaded from a real HTTP server."""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.preprocess import decode_array
from tests.support import official_cifar10 as official
from tests.support.file_server import Served, serve
from training.data.dataset import load_dataset
from training.errors import DatasetError
from training.ingest.cifar10 import MD5, import_cifar10
from training.recipes.data import DatasetSpec

TRAIN, TEST = official.split(60, seed=1), official.split(20, seed=2)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return official.archive(tmp_path / "cifar-10-python.tar.gz", official.files(TRAIN, TEST))


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def is_empty(data: Path) -> bool:
    return not data.exists() or not list(data.iterdir())


def check_pixels(folder: Path) -> None:
    for split, (pixels, labels) in {"train": TRAIN, "test": TEST}.items():
        assert len(list((folder / split).rglob("*.png"))) == len(labels)
        for index, label in enumerate(labels):
            content = (folder / split / official.CLASSES[label] / f"{index:05d}.png").read_bytes()
            np.testing.assert_array_equal(decode_array(content), pixels[index])


class TestDownload:
    def test_pixels_are_unchanged(self, archive: Path, data: Path) -> None:
        content = archive.read_bytes()
        with serve(Served(content)) as server:
            report = import_cifar10(None, data, url=server.url, checksum=md5(content))
        check_pixels(data / "cifar10")
        assert report.total == 80
        assert report.images["train"] == dict.fromkeys(official.CLASSES, 6)
        assert [entry.name for entry in data.iterdir()] == ["cifar10"]

    def test_checksum_may_be_sha256(self, archive: Path, data: Path) -> None:
        content = archive.read_bytes()
        with serve(Served(content)) as server:
            import_cifar10(None, data, url=server.url, checksum=hashlib.sha256(content).hexdigest())
        check_pixels(data / "cifar10")

    def test_file_with_another_checksum_is_rejected(self, archive: Path, data: Path) -> None:
        with serve(Served(archive.read_bytes())) as server, pytest.raises(DatasetError, match=MD5) as raised:
            import_cifar10(None, data, url=server.url)
        assert "--from FILE" in str(raised.value)
        assert is_empty(data)

    def test_broken_download_is_resumed(self, archive: Path, data: Path) -> None:
        content = archive.read_bytes()
        third = len(content) // 3
        with serve(Served(content, breaks_after=third + 1)) as server:
            import_cifar10(None, data, url=server.url, checksum=md5(content))
        assert server.requested_ranges == [None, f"bytes={third + 1}-", f"bytes={2 * third + 2}-"]
        check_pixels(data / "cifar10")

    @pytest.mark.parametrize(
        "served",
        [
            pytest.param({"breaks_after": 100}, id="breaks repeatedly"),
            pytest.param({"breaks_after": 100, "ranges": False}, id="breaks without range support"),
            pytest.param({"breaks_after": 0}, id="sends no data"),
            pytest.param({"status": 404}, id="not found"),
            pytest.param({"status": 503}, id="overloaded"),
        ],
    )
    def test_failing_server_gives_an_error_with_alternatives(
        self, archive: Path, data: Path, served: dict[str, Any]
    ) -> None:
        with (
            serve(Served(archive.read_bytes(), **served)) as server,
            pytest.raises(DatasetError, match=r"cannot be downloaded: .*--from FILE.*--url URL"),
        ):
            import_cifar10(None, data, url=server.url)
        assert len(server.requested_ranges) <= 5
        assert is_empty(data)

    @pytest.mark.parametrize("url", ["http://127.0.0.1:{port}/x", "http://\x00", "ftp://localhost/x", "x"])
    def test_unreachable_server_gives_a_one_line_error(self, data: Path, url: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))  # not listening
            with pytest.raises(DatasetError, match="--from FILE") as raised:
                import_cifar10(None, data, url=url.format(port=free.getsockname()[1]))
        assert "\n" not in str(raised.value)
        assert is_empty(data)

    def test_invalid_checksum_is_rejected(self, archive: Path, data: Path) -> None:
        with pytest.raises(DatasetError, match="not a checksum"):
            import_cifar10(archive, data, checksum="abc")


class TestLocalSource:
    def test_archive_is_imported(self, archive: Path, data: Path) -> None:
        import_cifar10(archive, data)
        check_pixels(data / "cifar10")

    @pytest.mark.parametrize("parent", ["", "cifar-10-batches-py"])
    def test_unpacked_folder_is_imported(self, tmp_path: Path, data: Path, parent: str) -> None:
        folder = tmp_path / "unpacked"
        (folder / parent).mkdir(parents=True)
        for name, content in official.files(TRAIN, TEST).items():
            (folder / parent / name).write_bytes(content)
        import_cifar10(folder, data)
        check_pixels(data / "cifar10")

    def test_imported_dataset_can_be_loaded(self, archive: Path, data: Path) -> None:
        import_cifar10(archive, data)
        dataset = load_dataset(DatasetSpec(path="cifar10"), data / "cifar10")
        assert dataset.class_names == official.CLASSES
        assert dataset.test is not None
        assert (len(dataset.train), len(dataset.test)) == (60, 20)

    def test_checksum_of_a_local_archive_is_verified(self, archive: Path, data: Path) -> None:
        import_cifar10(archive, data, checksum=md5(archive.read_bytes()).upper())
        with pytest.raises(DatasetError, match="its checksum is"):
            import_cifar10(archive, data, checksum=MD5, replace=True)
        check_pixels(data / "cifar10")

    def test_missing_source_is_rejected(self, data: Path) -> None:
        with pytest.raises(DatasetError, match=r"nothing at .*--url URL"):
            import_cifar10(data / "missing.tar.gz", data)

    def test_archive_of_other_files_is_rejected(self, tmp_path: Path, data: Path) -> None:
        contents = {name: b"" for name in official.files(TRAIN, TEST) if name != "data_batch_3"}
        with pytest.raises(DatasetError, match=r"not the official CIFAR-10 .*import NAME --from"):
            import_cifar10(official.archive(tmp_path / "a.tar.gz", contents), data)
        assert is_empty(data)

    def test_existing_dataset_is_replaced_only_on_request(self, archive: Path, data: Path) -> None:
        (data / "cifar10").mkdir(parents=True)
        (data / "cifar10" / "mine").touch()
        with pytest.raises(DatasetError, match="--replace"):
            import_cifar10(archive, data)
        assert (data / "cifar10" / "mine").exists()
        import_cifar10(archive, data, replace=True)
        assert [entry.name for entry in data.iterdir()] == ["cifar10"]
        check_pixels(data / "cifar10")

    @pytest.mark.parametrize("length", [0.02, 0.5, 0.999])
    def test_truncated_archive_is_rejected(self, archive: Path, data: Path, length: float) -> None:
        content = archive.read_bytes()
        archive.write_bytes(content[: int(len(content) * length)])
        with pytest.raises(DatasetError, match="cannot be unpacked"):
            import_cifar10(archive, data)
        assert is_empty(data)

    @pytest.mark.parametrize("name", ["../../evil", "/tmp/evil", ".hidden", "", "a/b", "a\nb", "airplane"])
    def test_invalid_class_names_are_rejected(self, tmp_path: Path, data: Path, name: str) -> None:
        contents = official.files(TRAIN, TEST) | {"batches.meta": official.meta(("airplane", name))}
        with pytest.raises(DatasetError, match=r"cannot name a folder|does not name the classes"):
            import_cifar10(official.archive(tmp_path / "a.tar.gz", contents), data)
        assert is_empty(data)
        assert not (tmp_path / "evil").exists()

    def test_label_beyond_the_classes_is_rejected(self, tmp_path: Path, data: Path) -> None:
        contents = official.files(TRAIN, TEST) | {"test_batch": official.batch(TEST[0], TEST[1] + 1)}
        with pytest.raises(DatasetError, match="beyond the 10 classes"):
            import_cifar10(official.archive(tmp_path / "a.tar.gz", contents), data)
        assert is_empty(data)
