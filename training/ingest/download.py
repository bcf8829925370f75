"""Files from the web: whole and with the right checksum, or not at all."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import BinaryIO

import httpx

from models.console.progress import Track, silent
from training.errors import DatasetError

_ATTEMPTS = 5
_TIMEOUT = httpx.Timeout(30, connect=10)  # seconds
_ALGORITHMS = {32: "md5", 64: "sha256"}  # by the length of the hexadecimal digest


def download(url: str, file: Path, checksum: str, track: Track = silent) -> None:
    """Download a file. A broken connection is taken up where it broke.

    Args:
        url: http or https; redirects are followed.
        file: where to; it appears when all of it has come and its checksum is right.
        checksum: MD5 or SHA-256 in hexadecimal.
        track: shows the bytes.

    Raises:
        DatasetError: the server cannot be reached or refuses, or sent something else; says which.
    """
    part = file.with_name(f".{file.name}.part")
    try:
        with part.open("wb") as output:
            _fetch(url, output, track)
        verify(part, checksum, url)
        part.replace(file)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise DatasetError(f"{url} cannot be downloaded: {reason}.") from error
    finally:
        part.unlink(missing_ok=True)


def verify(file: Path, checksum: str, origin: str) -> None:
    """Compare a file with its MD5 or SHA-256; raises DatasetError if it is not the one."""
    algorithm = _ALGORITHMS.get(len(checksum))
    if algorithm is None:
        raise DatasetError(f"{checksum!r} is no checksum: give an MD5 or SHA-256 in hexadecimal.")
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, lambda: hashlib.new(algorithm, usedforsecurity=False))
    found = digest.hexdigest()
    if found != checksum.lower():
        raise DatasetError(f"{origin} is damaged or another file: its checksum is {found}, not {checksum}.")


def _fetch(url: str, output: BinaryIO, track: Track) -> None:
    # Bytes as they are stored: some servers label a .gz as an encoding, and a client would unpack it.
    headers = {"Accept-Encoding": "identity"}
    with httpx.Client(follow_redirects=True, timeout=_TIMEOUT, headers=headers) as client:
        for attempt in range(1, _ATTEMPTS + 1):
            before = output.tell()
            try:
                _go_on(client, url, output, track)
                return
            except httpx.TransportError:
                if attempt == _ATTEMPTS or output.tell() <= before:
                    raise


def _go_on(client: httpx.Client, url: str, output: BinaryIO, track: Track) -> None:
    """Fetch what is missing behind the end of `output`, or all of it from a server that knows no ranges."""
    here = output.tell()
    with client.stream("GET", url, headers={"Range": f"bytes={here}-"} if here else {}) as response:
        response.raise_for_status()
        if response.status_code != httpx.codes.PARTIAL_CONTENT:
            here = output.seek(0)
            output.truncate()
        length = response.headers.get("Content-Length")
        total = here + int(length) if length else None
        with track(f"Downloading from {response.url.host}", total, "bytes") as advance:
            advance(here)
            for chunk in response.iter_raw():
                output.write(chunk)
                advance(len(chunk))
