"""Messages between the server and decode workers (`models.decoding.worker`), and the start of a worker.

Request:  REQUEST_PREFIX, header (JSON), encoded image.
Response: RESPONSE_PREFIX, header (JSON), body. Small results go to a slot of shared memory instead of the body.
"""

from __future__ import annotations

import fcntl
import functools
import json
import os
import struct
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from socket import socket
from typing import IO, Any

from models.decoding.errors import ImageError, UndecodableImage
from models.decoding.limits import Limits
from models.decoding.resize import ResizeSpec

REQUEST_PREFIX = struct.Struct("!IIi")
"""Bytes of the header, bytes of the image, and the result's offset in shared memory or INLINE."""
RESPONSE_PREFIX = struct.Struct("!II")
"""Bytes of the header, bytes of the body."""
INLINE = -1
"""Offset of a result that is sent as the response body."""
SLOT_BYTES = 1 << 20
"""Shared memory per image: enough for three networks at 299 px."""
READY = {"ready": True}
"""Header of the first message of a worker, before any request."""

_ENVIRONMENT = ("PATH", "LANG", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE")
_ERRORS = {error.__name__: error for error in ImageError.__subclasses__()}
ResponseHeader = dict[str, Any]


class AboveThreshold(BaseException):
    """The image has more pixels than `max_pixels`; not an Exception, which `decode` would report as a damaged file."""

    def __init__(self, pixels: int) -> None:
        """Create the error of an image with this number of pixels."""
        super().__init__(pixels)
        self.pixels = pixels


class WorkerError(Exception):
    """An unexpected exception in a worker; the message is its traceback."""


@dataclass(frozen=True)
class DecodeRequest:
    """A request for the pixels of an image after resizing, or, without `resize_specs`, for a JPEG thumbnail."""

    resize_specs: tuple[ResizeSpec, ...]
    limits: Limits
    max_pixels: int | None = None
    """Images with more pixels are not decoded; `raise_for_error` then raises AboveThreshold."""
    thumbnail_side: int = 0
    """Maximum side of the thumbnail, px."""

    @functools.cached_property
    def response_bytes(self) -> int:
        """Size of all pixels."""
        return sum(spec.nbytes for spec in self.resize_specs)

    @functools.cached_property
    def header(self) -> bytes:
        """The request as JSON."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_header(cls, header: bytes) -> DecodeRequest:
        """Parse the output of `header`."""
        return _parse_request(header)


@functools.lru_cache(maxsize=100)
def _parse_request(header: bytes) -> DecodeRequest:
    values = json.loads(header)
    specs = tuple(ResizeSpec(*fields) for fields in values["resize_specs"])
    return DecodeRequest(**{**values, "resize_specs": specs, "limits": Limits(**values["limits"])})


def create_shared_memory(slots: int) -> IO[bytes]:
    """Create an in-memory file of `slots` x SLOT_BYTES to share with a worker."""
    is_linux = hasattr(os, "memfd_create")
    descriptor = os.memfd_create("pixels", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING) if is_linux else None
    file = tempfile.TemporaryFile() if descriptor is None else os.fdopen(descriptor, "r+b")  # noqa: SIM115 - returned
    file.truncate(slots * SLOT_BYTES)
    if is_linux:  # otherwise a compromised worker could shrink the file, and the server would die of SIGBUS
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return file


def spawn(connection: socket, memory: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start a worker that serves the other end of a socket pair and writes to shared memory; raises OSError."""
    return subprocess.Popen(
        [sys.executable, "-m", "models.decoding.worker", str(memory.fileno())],
        stdin=connection.fileno(),
        stdout=connection.fileno(),
        stderr=subprocess.DEVNULL,
        pass_fds=[memory.fileno()],
        cwd=Path(__file__).parents[2],
        env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ} | {"OPENBLAS_NUM_THREADS": "1"},
        process_group=0,  # Ctrl+C must reach only the server, which then drains
    )


def raise_for_error(header: ResponseHeader) -> None:
    """Raise the error that a response reports: an ImageError, MemoryError, AboveThreshold or WorkerError."""
    if "error" in header:
        raise _ERRORS.get(header["error"], UndecodableImage)(header["message"])
    if "out_of_memory" in header:
        raise MemoryError
    if "worker_error" in header:
        raise WorkerError(header["worker_error"])
    if "above_threshold" in header:
        raise AboveThreshold(header["above_threshold"])
