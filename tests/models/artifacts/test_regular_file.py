"""Files that are read only if they are regular files of a limited size."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from models.artifacts.regular_file import read_regular_file


def link(path: Path) -> None:
    (path.parent / "target").write_bytes(b"x")
    path.symlink_to("target")


def dangling_link(path: Path) -> None:
    path.symlink_to("missing")


def link_to_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def fifo(path: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(path))


def folder(path: Path) -> None:
    path.mkdir()


def huge_file(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**40)  # sparse


def test_regular_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_regular_file(path, 5) == b"12345"
    with pytest.raises(OSError, match="more than 4 bytes"):
        read_regular_file(path, 4)
    path.write_bytes(b"")
    assert read_regular_file(path, 0) == b""


@pytest.mark.parametrize("create", [link, dangling_link, link_to_device, fifo, unix_socket, folder, huge_file])
def test_other_file_is_rejected_at_once(tmp_path: Path, create: Callable[[Path], None]) -> None:
    create(tmp_path / "file")
    began = time.monotonic()
    with pytest.raises(OSError, match=r"not a regular file|more than 1,000 bytes"):
        read_regular_file(tmp_path / "file", 1_000)
    assert time.monotonic() - began < 1


def test_device_is_rejected() -> None:
    with pytest.raises(OSError, match="not a regular file"):
        read_regular_file(Path("/dev/zero"), 1_000)


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_regular_file(tmp_path / "file", 1_000)


@pytest.mark.parametrize("replace", [link, fifo])
def test_file_that_is_replaced_while_it_is_opened_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replace: Callable[[Path], None]
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    opens = os.open

    def replace_and_open(name: Path, flags: int) -> int:
        path.unlink()
        replace(path)
        return opens(name, flags)

    monkeypatch.setattr(os, "open", replace_and_open)
    with pytest.raises(OSError, match=r"not a regular file|symbolic links"):
        read_regular_file(path, 1_000)
