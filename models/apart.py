"""Pictures of formats whose decoders cannot be bounded from outside, decoded in a process of their own.

    Apart.prepare(data, specs) ──▶ python -m models.apart ──▶ uint8 pixels, one for each spec

An AVIF may hide a frame a thousand times as large as it says, which libavif decodes and then scales; libtiff has had
more holes than any other decoder here. So these are opened and decoded in a process that may take only so much memory
and so many seconds of a core, by the size that they say. If it takes more, or crashes, the picture is refused, and the
next one gets a new process.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import select
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

# For any picture, and for 50 million pixels besides: an AVIF of as many, with transparency, took 4 s and 650 MB.
BASE_S, MORE_S = 1.0, 9.0
BASE_BYTES, MORE_BYTES = 100_000_000, 640_000_000
_COPIES = 4  # of the file, that libraries make
_MANY_PIXELS = 50_000_000

WALL_S = 30.0
"""For an answer, whatever the process does meanwhile."""
_MOST_HEADER, _MOST_BODY = 64 * 1024, 64 * 1024 * 1024  # of an answer
_LENGTH = struct.Struct("!II")  # of a header in JSON, and of what follows it
_FIRST_TO_GO = "1000"
_ENVIRONMENT = ("PATH", "LANG", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE")
_ERRORS = {kind.__name__: kind for kind in ImageError.__subclasses__()}

logger = logging.getLogger(__name__)

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
        asked = {**asked, "limits": asdict(limits)}
        if before:
            width, height = self._exchange({**asked, "header": True}, data)[0]["size"]
            before(width * height)
        return self._exchange(asked, data)

    def _exchange(self, asked: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
        process = self._process()
        try:
            _send(process.stdin, asked, data)
            _wait_for(process.stdout)
            answer, pixels = _receive(process.stdout, _MOST_HEADER, _MOST_BODY)
        except (OSError, EOFError, ValueError) as error:
            self._end(process)
            raise self._refusal(process) from error
        except BaseException:  # its answer may still come, and must not be taken for the next one's
            self._end(process)
            raise
        if "error" in answer:
            raise _ERRORS.get(answer["error"], UndecodableImage)(answer["message"])
        return answer, pixels

    def _refusal(self, process: subprocess.Popen[bytes]) -> Exception:
        if self._is_closed:
            return UndecodableImage("The server is shutting down. Send the request again.")
        logger.warning("A process that decodes pictures has ended: exit code %s", process.returncode)
        return UndecodableImage(
            "Decoding this image takes too long, too much memory, or breaks the decoder. Save it again, smaller."
        )

    def close(self) -> None:
        """End all processes; pictures that are being decoded are refused."""
        with self._lock:
            self._is_closed = True
            left = list(self._all)
        for process in left:
            self._end(process)

    def _process(self) -> subprocess.Popen[bytes]:
        own: subprocess.Popen[bytes] | None = getattr(self._own, "process", None)
        if own is not None and own.poll() is None:
            return own
        if own is not None:
            self._end(own)
        with self._lock:
            if self._is_closed:
                raise UndecodableImage("The server is shutting down. Send the request again.")
            try:
                started = self._own.process = _started()
            except OSError as error:  # too many processes, or too little memory for one more
                raise MemoryError from error
            self._all.add(started)
        return started

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
        env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ} | {"OPENBLAS_NUM_THREADS": "1"},
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


def _wait_for(pipe: IO[bytes] | None) -> None:
    """Wait until there is something to be read, or the other side has ended; raises TimeoutError."""
    assert pipe is not None
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    if not poll.poll(WALL_S * 1000):
        raise TimeoutError


def _receive(pipe: IO[bytes] | None, most_header: int, most_body: int) -> tuple[dict[str, Any], bytes]:
    """Raises EOFError if the other side has ended, ValueError if it sends what it should not."""
    assert pipe is not None
    head, body = _LENGTH.unpack(_read(pipe, _LENGTH.size))
    if head > most_header or body > most_body:
        raise ValueError("This is longer than any answer.")
    return json.loads(_read(pipe, head)), _read(pipe, body)


def _read(pipe: IO[bytes], size: int) -> bytes:
    data = pipe.read(size)
    if len(data) < size:
        raise EOFError
    return data


def _answer(asked: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
    limits = Limits(**asked["limits"])
    try:
        width, height = header_size(data, limits)
        if "header" in asked:
            return {"size": (width, height)}, b""
        _allow(len(data), width * height)
        if "side" in asked:
            picture = decoded(data, limits)
            picture.thumbnail((asked["side"], asked["side"]))
            return {"size": picture.size}, picture.tobytes()
        specs = [PreprocessSpec(**spec) for spec in asked["specs"]]
        prepared = prepare(data, specs, limits)
        return {}, b"".join(prepared[spec].tobytes() for spec in specs)
    except ImageError as error:
        return {"error": type(error).__name__, "message": str(error)}, b""


def _allow(size: int, pixels: int) -> None:
    """From now on, what a picture of so many bytes and pixels may take; beyond it, the system ends this process."""
    share = pixels / _MANY_PIXELS
    signal.setitimer(signal.ITIMER_PROF, BASE_S + MORE_S * share)
    with suppress(OSError, ValueError):  # Linux alone bounds memory
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        most = pages * resource.getpagesize() + BASE_BYTES + int(MORE_BYTES * share) + _COPIES * size
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def main() -> None:
    """Answer until nobody asks any more."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # meant for the server, which may need it to drain
        signal.signal(number, signal.SIG_IGN)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO, encoding="ascii")
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whatever a library prints is no answer
    with suppress(EOFError):
        while True:
            asked, data = _receive(sys.stdin.buffer, _MOST_HEADER, sys.maxsize)
            _allow(len(data), 0)
            answer, pixels = _answer(asked, data)
            signal.setitimer(signal.ITIMER_PROF, 0)
            _send(answers, answer, pixels)


if __name__ == "__main__":
    main()
