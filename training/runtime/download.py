"""Downloads files with resume and checksum: a file is complete and correct, or absent."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import httpx

from models.console.progress import Track, silent
from training.errors import DownloadError

#: Connections per download. Each one resumes where the last broke off; a connection without any data is the last.
_MAX_ATTEMPTS = 5
#: Seconds without any data, and seconds to connect. Slow mirrors pause between chunks, but answer a connection quickly.
_TIMEOUT = httpx.Timeout(30, connect=10)
#: Hash algorithm by the length of the hexadecimal digest.
_ALGORITHMS = {32: "md5", 64: "sha256"}


@dataclass(frozen=True)
class RemoteFile:
    """A file on the web and its MD5 or SHA-256 in hexadecimal."""

    url: str
    checksum: str

    @property
    def name(self) -> str:
        """Last part of the URL's path."""
        return self.url.rpartition("/")[2]


def cached_download(remote: RemoteFile, folder: Path, track: Track = silent) -> Path:
    """Return the file in `folder`; download it first if it is missing or has another checksum.

    Raises:
        DownloadError: see `download`.
    """
    file = folder / remote.name
    if not (file.is_file() and has_checksum(file, remote.checksum)):
        folder.mkdir(parents=True, exist_ok=True)
        download(remote, file, track)
    return file


def download(remote: RemoteFile, file: Path, track: Track = silent) -> None:
    """Download a file. A broken connection is resumed where it broke.

    Args:
        remote: http or https; redirects are followed.
        file: where to write it. It appears only when it is complete and its checksum is correct.
        track: shows the bytes received.

    Raises:
        DownloadError: the server cannot be reached, answers with an error, or sends a file with another checksum.
    """
    part = file.with_name(f".{file.name}.part")
    try:
        with part.open("wb") as output:
            _fetch(remote.url, output, track)
        verify_checksum(part, remote.checksum, remote.url)
        part.replace(file)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise DownloadError(f"{remote.url} cannot be downloaded: {reason}.") from error
    finally:
        part.unlink(missing_ok=True)


def has_checksum(file: Path, checksum: str) -> bool:
    """Return whether a file has this MD5 or SHA-256, in hexadecimal."""
    return _digest(file, checksum) == checksum.lower()


def verify_checksum(file: Path, checksum: str, origin: str) -> None:
    """Compare a file with its MD5 or SHA-256.

    Args:
        file: to be read.
        checksum: expected, in hexadecimal.
        origin: of the file, for the error message.

    Raises:
        DownloadError: the file has another checksum, or `checksum` is neither an MD5 nor a SHA-256.
    """
    actual = _digest(file, checksum)
    if actual != checksum.lower():
        raise DownloadError(f"{origin} is damaged or a different file: its checksum is {actual}, not {checksum}.")


def _digest(file: Path, checksum: str) -> str:
    """Hash a file with the algorithm of `checksum`."""
    algorithm = _ALGORITHMS.get(len(checksum))
    if algorithm is None:
        raise DownloadError(f"{checksum!r} is not a checksum. Give an MD5 or SHA-256 in hexadecimal.")
    with file.open("rb") as content:
        return hashlib.file_digest(content, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def _fetch(url: str, output: BinaryIO, track: Track) -> None:
    # No content encoding: some servers declare a .gz file as gzip-encoded, and a client would then decompress it.
    headers = {"Accept-Encoding": "identity"}
    with httpx.Client(follow_redirects=True, timeout=_TIMEOUT, headers=headers) as client:
        for attempt in range(1, _MAX_ATTEMPTS + 1):
            size_before = output.tell()
            try:
                _resume(client, url, output, track)
                return
            except httpx.TransportError:
                if attempt == _MAX_ATTEMPTS or output.tell() <= size_before:
                    raise


def _resume(client: httpx.Client, url: str, output: BinaryIO, track: Track) -> None:
    """Append what `output` still lacks; start over if the server does not support ranges."""
    offset = output.tell()
    with client.stream("GET", url, headers={"Range": f"bytes={offset}-"} if offset else {}) as response:
        response.raise_for_status()
        if response.status_code != httpx.codes.PARTIAL_CONTENT:
            offset = output.seek(0)
            output.truncate()
        length = response.headers.get("Content-Length")
        total = offset + int(length) if length else None
        with track(f"Downloading from {response.url.host}", total, "bytes") as advance:
            advance(offset)
            for chunk in response.iter_raw():
                output.write(chunk)
                advance(len(chunk))
