"""What is asked of a process that decodes (`models.decoding.worker`), and what it answers; how one is started."""

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

from models.decoding.image import Limits
from models.decoding.resize import ResizeSpec
from models.errors import ImageError, UndecodableImage

REQUEST, RESPONSE = struct.Struct("!IIi"), struct.Struct("!II")
"""Before each message: bytes of its header in JSON, and of what follows; before a request, where its pixels go, too."""
INLINE = -1
"""Instead of a place in shared memory: what was made follows the answer's header."""
SLOT_BYTES = 1 << 20
"""Of shared memory for one picture: three networks at 299 px."""
READY = {"ready": True}
"""Said first, before anything is asked."""

TOO_EXPENSIVE = "Decoding this image takes too long, too much memory, or breaks the decoder. Save it again, smaller."

_ENVIRONMENT = ("PATH", "LANG", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE")
_ERRORS = {kind.__name__: kind for kind in ImageError.__subclasses__()}
Header = dict[str, Any]


class AboveThreshold(BaseException):
    """It has more pixels than are wanted; no Exception, which decoders would take for a damaged file."""


class WorkerError(Exception):
    """What a process met that is no fault of the picture's; with its traceback."""


@dataclass(frozen=True)
class DecodeRequest:
    """What is wanted of a picture: pixels after steps, or, where there is none, a JPEG of at most `side` px a side."""

    steps: tuple[ResizeSpec, ...]
    limits: Limits
    max_pixels: int | None = None
    """Pixels beyond which it is not decoded, and IsLarge is the answer."""
    side: int = 0

    @functools.cached_property
    def response_bytes(self) -> int:
        """Bytes of all pixels."""
        return sum(steps.nbytes for steps in self.steps)

    @functools.cached_property
    def header(self) -> bytes:
        """As it is sent."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_header(cls, header: bytes) -> DecodeRequest:
        """As it was sent."""
        return _read_back(header)


@functools.lru_cache(maxsize=100)
def _read_back(header: bytes) -> DecodeRequest:
    values = json.loads(header)
    steps = tuple(ResizeSpec(*each) for each in values["steps"])
    return DecodeRequest(**{**values, "steps": steps, "limits": Limits(**values["limits"])})


def create_shared_memory(places: int) -> IO[bytes]:
    """A file in memory, to be shared with a process, for so many pictures."""
    is_linux = hasattr(os, "memfd_create")
    number = os.memfd_create("pixels", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING) if is_linux else None
    file = tempfile.TemporaryFile() if number is None else os.fdopen(number, "r+b")  # noqa: SIM115 - the caller's
    file.truncate(places * SLOT_BYTES)
    if is_linux:  # a decoder that is taken over could else make it smaller, which would end the server (SIGBUS)
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return file


def spawn(end: socket, memory: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start a process that answers on the other end of a pair of sockets, and in shared memory; raises OSError."""
    return subprocess.Popen(
        [sys.executable, "-m", "models.decoding.worker", str(memory.fileno())],
        stdin=end.fileno(),
        stdout=end.fileno(),
        stderr=subprocess.DEVNULL,
        pass_fds=[memory.fileno()],
        cwd=Path(__file__).parents[2],
        env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ} | {"OPENBLAS_NUM_THREADS": "1"},
        process_group=0,  # Ctrl+C is for the one that started it
    )


def raise_for_error(answer: Header) -> None:
    """Raise what the process raised: an ImageError, MemoryError, IsLarge, or Fault."""
    if "error" in answer:
        raise _ERRORS.get(answer["error"], UndecodableImage)(answer["message"])
    if "no_memory" in answer:
        raise MemoryError
    if "fault" in answer:
        raise WorkerError(answer["fault"])
    if "is_large" in answer:
        raise AboveThreshold
