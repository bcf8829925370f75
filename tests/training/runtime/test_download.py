"""Downloads that are kept: fetched once, and again when the kept file is damaged."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.support.file_server import Served, serve
from training.errors import DownloadError
from training.runtime.download import RemoteFile, cached_download

CONTENT = bytes(range(256)) * 100
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def test_kept_file_is_not_downloaded_again(tmp_path: Path) -> None:
    with serve(Served(CONTENT)) as server:
        remote = RemoteFile(server.url, SHA256)
        first, second = (cached_download(remote, tmp_path / "new" / "folder") for _ in range(2))
    assert first == second == tmp_path / "new" / "folder" / "cifar-10-python.tar.gz"
    assert first.read_bytes() == CONTENT
    assert len(server.requested_ranges) == 1


def test_damaged_file_is_downloaded_again(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(CONTENT[:-1])
    with serve(Served(CONTENT)) as server:
        file = cached_download(RemoteFile(server.url, SHA256), tmp_path)
    assert file.read_bytes() == CONTENT


def test_failed_download_leaves_no_file(tmp_path: Path) -> None:
    with serve(Served(b"something else")) as server, pytest.raises(DownloadError, match="its checksum is"):
        cached_download(RemoteFile(server.url, SHA256), tmp_path)
    assert not list(tmp_path.iterdir())
