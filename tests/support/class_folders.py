"""Datasets on disk and in archives, made of files by name."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

Pack = Callable[[Path, dict[str, bytes]], Path]


def png(seed: int) -> bytes:
    """Return an image that differs for every seed."""
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 9, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as members:
        for name, content in files.items():
            members.writestr(name, content)
    return path


def with_wrong_checksums(archive: Path, *names: str) -> Path:
    """Change the checksums of files in a zip, whose content is still what it was."""
    content = archive.read_bytes()
    with zipfile.ZipFile(archive) as members:
        for name in names:
            checksum = members.getinfo(name).CRC
            content = content.replace(struct.pack("<L", checksum), struct.pack("<L", checksum ^ 1))
    archive.write_bytes(content)
    return archive


def tarred(path: Path, files: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as members:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            members.addfile(member, io.BytesIO(content))
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


GOOD = {
    "train/cats/1.png": png(1),
    "train/cats/deeper/still/2.png": png(2),
    "train/dogs/1.png": png(3),
    "valid/cats/1.png": png(4),
    "test/dogs/1.png": png(5),
}
