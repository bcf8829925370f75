"""Pictures of formats whose decoders cannot be bounded from outside, decoded in a process of their own.

    Apart.prepare(data, specs) ──▶ python -m models.apart ──▶ uint8 pixels, one for each spec

An AVIF may hide a frame a thousand times as large as it says, which libavif decodes and then scales; libtiff has had
more holes than any other decoder here. So these get a process that may take only so much memory and so many seconds of
a core. If it takes more, or crashes, the picture is refused, and the next one gets a new process.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from models.classifier import prepare
from models.errors import ImageError, UndecodableImage, UnsupportedImage
from models.image import DEFAULT_LIMITS, Limits, Pixels, decoded, header_size, sniff
from models.preprocess import PreprocessSpec

FORMATS = frozenset({"AVIF", "TIFF"})

CPU_S = 4.0  # of all its threads together: 50 million pixels of AVIF take 3 to 4
MEMORY_BYTES = 700_000_000  # beside what Python and its libraries take: 50 million pixels with transparency need 650
_LENGTH = struct.Struct("!II")  # of a header in JSON, and of what follows it
_FIRST_TO_GO = "1000"

_ERRORS = {kind.__name__: kind for kind in ImageError.__subclasses__()}

Prepared = dict[PreprocessSpec, Pixels]


def is_for_apart(data: bytes) -> bool:
    """Whether a picture is of a format that is decoded apart."""
    try:
        return sniff(data) in FORMATS
    except UnsupportedImage:
        return False


class Apart:
    """A process for each thread that asks, started when it first does."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._own, self._all, self._lock = threading.local(), set[subprocess.Popen[bytes]](), threading.Lock()
        self._is_closed = False

    def prepare(
        self,
        data: bytes,
        specs: Iterable[PreprocessSpec],
        limits: Limits = DEFAULT_LIMITS,
        before: Callable[[int], object] | None = None,
    ) -> Prepared:
        """The same as `models.classifier.prepare`, and UndecodableImage where it takes too long or too much memory."""
        distinct = sorted(set(specs), key=repr)
        asked = {"specs": [spec.model_dump() for spec in distinct]}
        return _taken_apart(self._ask(data, asked, limits, before)[1], distinct)

    def thumbnail(
        self,
        data: bytes,
        side: int,
        limits: Limits = DEFAULT_LIMITS,
        before: Callable[[int], object] | None = None,
    ) -> Image.Image:
        """The upright picture in RGB, of at most `side` pixels a side; raises as `prepare` does."""
        answer, pixels = self._ask(data, {"side": side}, limits, before)
        return Image.frombytes("RGB", answer["size"], pixels)

    def _ask(
        self, data: bytes, asked: dict[str, Any], limits: Limits, before: Callable[[int], object] | None
    ) -> tuple[dict[str, Any], bytes]:
        width, height = header_size(data, limits)
        if before:
            before(width * height)
        process = self._process()
        try:
            _send(process.stdin, {**asked, "limits": asdict(limits)}, data)
            answer, pixels = _receive(process.stdout)
        except (OSError, EOFError) as error:
            self._end(process)
            raise UndecodableImage(
                "Decoding this image takes too long, too much memory, or breaks the decoder. Save it again, smaller."
            ) from error
        if "error" in answer:
            raise _ERRORS[answer["error"]](answer["message"])
        return answer, pixels

    def close(self) -> None:
        """End all processes; pictures that are being decoded are refused."""
        with self._lock:
            self._is_closed = True
            left = list(self._all)
        for process in left:
            self._end(process)

    def _process(self) -> subprocess.Popen[bytes]:
        own: subprocess.Popen[bytes] | None = getattr(self._own, "process", None)
        if own is None or own.poll() is not None:
            with self._lock:
                if self._is_closed:
                    raise UndecodableImage("The server is shutting down. Send the request again.")
                own = self._own.process = _started()
                self._all.add(own)
        return own

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):  # what could not be sent any more
                if pipe:
                    pipe.close()
        with self._lock:
            self._all.discard(process)


def _started() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=Path(__file__).parents[1],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        process_group=0,  # Ctrl+C is for the one that started it
    )


def _taken_apart(pixels: bytes, specs: list[PreprocessSpec]) -> Prepared:
    taken, begin = Prepared(), 0
    for spec in specs:
        shape = (spec.size, spec.size, 3)
        taken[spec] = np.frombuffer(pixels, np.uint8, spec.size * spec.size * 3, begin).reshape(shape)
        begin += taken[spec].nbytes
    return taken


def _send(pipe: IO[bytes] | None, header: dict[str, Any], body: bytes) -> None:
    assert pipe is not None
    head = json.dumps(header).encode()
    pipe.write(_LENGTH.pack(len(head), len(body)) + head)
    pipe.write(body)
    pipe.flush()


def _receive(pipe: IO[bytes] | None) -> tuple[dict[str, Any], bytes]:
    """Raises EOFError if the other side has ended."""
    assert pipe is not None
    head, body = _LENGTH.unpack(_read(pipe, _LENGTH.size))
    return json.loads(_read(pipe, head)), _read(pipe, body)


def _read(pipe: IO[bytes], size: int) -> bytes:
    data = pipe.read(size)
    if len(data) < size:
        raise EOFError
    return data


def _answer(asked: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
    limits = Limits(**asked["limits"])
    try:
        if "side" in asked:
            picture = decoded(data, limits)
            picture.thumbnail((asked["side"], asked["side"]))
            return {"size": picture.size}, picture.tobytes()
        specs = [PreprocessSpec(**spec) for spec in asked["specs"]]
        prepared = prepare(data, specs, limits)
        return {}, b"".join(prepared[spec].tobytes() for spec in specs)
    except ImageError as error:
        return {"error": type(error).__name__, "message": str(error)}, b""


def _bound() -> None:
    """The first to go where memory is short, and no more of it than one picture needs."""
    with suppress(OSError, ValueError):  # Linux alone has both
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO, encoding="ascii")
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        most = pages * resource.getpagesize() + MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def main() -> None:
    """Answer until nobody asks any more."""
    _bound()
    with suppress(EOFError):
        while True:
            asked, data = _receive(sys.stdin.buffer)
            signal.setitimer(signal.ITIMER_PROF, CPU_S)  # then the system ends this process, whatever it does
            answer, pixels = _answer(asked, data)
            signal.setitimer(signal.ITIMER_PROF, 0)
            _send(sys.stdout.buffer, answer, pixels)


if __name__ == "__main__":
    main()
