"""Pictures decoded in a process of its own, `python -m models.decoding.worker`.

    stdin: what is wanted, encoded picture ──▶ stdout: what came of it
                                           └─▶ shared memory: uint8 pixels

A server that decodes in other processes shares its interpreter's lock with none of them, and loses one picture, not
itself, where a decoder crashes. Formats whose decoders cannot be bounded from outside may take so much memory and so
many seconds of a core as is fair for the size that they say: an AVIF may hide a frame a thousand times as large, which
libavif decodes and then scales; libtiff has had more holes than any other decoder here. A process that takes more is
ended by the system.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import platform
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from io import BytesIO, FileIO, RawIOBase
from pathlib import Path

from models.decoding.image import decode, sniff
from models.decoding.protocol import (
    INLINE,
    READY,
    REQUEST,
    RESPONSE,
    TOO_EXPENSIVE,
    AboveThreshold,
    DecodeRequest,
    Header,
)
from models.decoding.resize import prepare
from models.errors import ImageError, UnsupportedImage

BOUNDED = frozenset({"AVIF", "TIFF"})

# For any picture, and for 50 million pixels besides: an AVIF of as many, with transparency, took 4 s and 650 MB.
BASE_S, MORE_S = 1.0, 9.0
BASE_BYTES, MORE_BYTES = 100_000_000, 640_000_000
_COPIES = 4  # of the file, that libraries make
_MANY_PIXELS = 50_000_000

_FIRST_TO_GO = "1000"
_PATIENCE = 10  # the event loop goes first: who is refused, or answered, must not wait for pictures of others
_REST_MS = 500
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h
_NEVER = 1 << 30
_AT_FIRST = resource.getrlimit(resource.RLIMIT_AS)[0]


def is_bounded(data: bytes) -> bool:
    """Whether a picture is of a format whose decoder is bounded in memory and time."""
    try:
        return sniff(data) in BOUNDED
    except UnsupportedImage:
        return False


def _process(wish: DecodeRequest, data: bytes) -> tuple[Header, bytes]:
    began, bounded = time.monotonic(), is_bounded(data)

    def before(pixels: int) -> None:
        if wish.max_pixels is not None and pixels > wish.max_pixels:
            raise AboveThreshold
        if bounded:
            _allow(len(data), pixels)

    try:
        with _limits(len(data)) if bounded else nullcontext():
            made = _decode(wish, data, before)
        return {"seconds": time.monotonic() - began}, made
    except AboveThreshold:
        return {"is_large": True}, b""
    except ImageError as error:
        return {"error": type(error).__name__, "message": str(error)}, b""
    except MemoryError:
        return {"error": "UndecodableImage", "message": TOO_EXPENSIVE} if bounded else {"no_memory": True}, b""
    except Exception:
        return {"fault": traceback.format_exc()}, b""


def _decode(wish: DecodeRequest, data: bytes, before: Callable[[int], None]) -> bytes:
    if wish.steps:
        rgb = prepare(data, wish.steps, wish.limits, before)
        return b"".join(rgb[steps].tobytes() for steps in wish.steps)
    picture, made = decode(data, wish.limits, wish.side, before), BytesIO()
    picture.thumbnail((wish.side, wish.side))
    picture.save(made, "JPEG", quality=85)
    return made.getvalue()


@contextmanager
def _limits(size: int) -> Iterator[None]:
    """What a picture of so many bytes may take before it has said its own size; nothing more is limited afterwards."""
    _allow(size, 0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        _allow_memory(_AT_FIRST)


def _allow(size: int, pixels: int) -> None:
    """From now on, what a picture of so many bytes and pixels may take; beyond it, the system ends this process."""
    share = pixels / _MANY_PIXELS
    signal.setitimer(signal.ITIMER_PROF, BASE_S + MORE_S * share)
    with suppress(OSError, ValueError):  # Linux alone bounds memory
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        _allow_memory(pages * resource.getpagesize() + BASE_BYTES + int(MORE_BYTES * share) + _COPIES * size)


def _allow_memory(most: int) -> None:
    with suppress(OSError, ValueError):
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        within = [each for each in (most, hard) if each != resource.RLIM_INFINITY]
        resource.setrlimit(resource.RLIMIT_AS, (min(within, default=resource.RLIM_INFINITY), hard))


def _requests(pipe: RawIOBase) -> Iterator[tuple[bytes, bytes, int]]:
    """What is asked, until nobody asks any more; memory is given back to the system when nobody does for a while."""
    rest, libc = select.poll(), ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
    rest.register(pipe, select.POLLIN)
    if libc:  # else each picture's pages are given back, and each next one's are new: a third more time
        libc.mallopt(_TRIM_THRESHOLD, _NEVER)
        libc.mallopt(_MMAP_THRESHOLD, _NEVER)
    with suppress(EOFError):
        while True:
            if libc and not rest.poll(_REST_MS):
                libc.malloc_trim(0)
            header, body, place = REQUEST.unpack(_read(pipe, REQUEST.size))
            yield _read(pipe, header), _read(pipe, body), place


def _read(pipe: RawIOBase, size: int) -> bytes:
    data = bytearray(size)
    left = memoryview(data)
    while left:
        count = pipe.readinto(left)
        if not count:
            raise EOFError
        left = left[count:]
    return bytes(data)


def main() -> None:
    """Answer until nobody asks any more."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # meant for the server, which may need it to drain
        signal.signal(number, signal.SIG_IGN)
    os.nice(_PATIENCE)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO, encoding="ascii")
    with (
        FileIO(sys.stdin.fileno(), closefd=False) as asked,
        FileIO(os.dup(sys.stdout.fileno()), "w") as answers,
        mmap.mmap(int(sys.argv[1]), 0) as memory,
        suppress(OSError),  # nobody waits for answers any more
    ):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whatever a library prints is no answer
        _send(answers, READY)
        for header, data, place in _requests(asked):
            answer, made = _process(DecodeRequest.from_header(header), data)
            if place != INLINE:
                memory[place : place + len(made)] = made
                answer, made = {**answer, "placed": len(made)}, b""
            _send(answers, answer, made)


def _send(pipe: RawIOBase, header: Header, body: bytes = b"") -> None:
    head = json.dumps(header).encode()
    left = memoryview(RESPONSE.pack(len(head), len(body)) + head + body)
    while left:
        left = left[pipe.write(left) or 0 :]


if __name__ == "__main__":
    main()
