"""Decode worker process: `python -m models.decoding.worker SHARED_MEMORY_DESCRIPTOR`.

    stdin: request, encoded image ──▶ stdout: response
                                  └─▶ shared memory: uint8 pixels

Decoding in separate processes does not hold the server's interpreter lock, and a crashing decoder fails one image, not
the server. Formats whose decoders can use far more resources than the image size suggests get limits of memory and CPU
time, proportional to that size, which the operating system enforces: an AVIF or HEIC can contain a frame a thousand
times larger, which is decoded before it is scaled down or rejected; libtiff has had more vulnerabilities than the other
decoders.
"""

from __future__ import annotations

import json
import mmap
import os
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

from models.decoding.errors import ImageError, UnsupportedImage, decoding_aborted
from models.decoding.image import decode, sniff
from models.decoding.protocol import (
    INLINE,
    READY,
    REQUEST_PREFIX,
    RESPONSE_PREFIX,
    AboveThreshold,
    DecodeRequest,
    ResponseHeader,
)
from models.decoding.resample import fit_within
from models.decoding.resize import prepare
from models.malloc import keep_freed_memory, trim_heap

LIMITED_FORMATS = frozenset({"AVIF", "HEIC", "TIFF"})

# For any image, plus a share for its pixels. With 50 megapixels and transparency, an AVIF took 4 s and 650 MB, a HEIC
# of 10 bits 2.2 s and 730 MB; a HEIC of 12 megapixels and 8 MB took 2 s.
BASE_CPU_S, LARGE_IMAGE_CPU_S = 1.0, 15.0
BASE_BYTES, LARGE_IMAGE_BYTES = 100_000_000, 800_000_000
_LARGE_IMAGE_PIXELS = 50_000_000
_FILE_COPIES = 4  # copies of the encoded file in libraries

_NICENESS = 10  # rejections and responses of the server's event loop must not wait for decoding
_OOM_SCORE = "1000"  # if memory is short, the kernel kills workers before the server
_IDLE_MS = 500
_INITIAL_MEMORY_LIMIT = resource.getrlimit(resource.RLIMIT_AS)[0]


def has_resource_limits(data: bytes) -> bool:
    """Return whether an image is of a format that is decoded with limits of memory and CPU time."""
    try:
        return sniff(data) in LIMITED_FORMATS
    except UnsupportedImage:
        return False


def _handle(request: DecodeRequest, data: bytes) -> tuple[ResponseHeader, bytes]:
    began, is_limited = time.monotonic(), has_resource_limits(data)

    def on_header(pixels: int) -> None:
        if request.max_pixels is not None and pixels > request.max_pixels:
            raise AboveThreshold(pixels)
        if is_limited:
            _set_limits(len(data), pixels)

    try:
        with _resource_limits(len(data)) if is_limited else nullcontext():
            result = _decode(request, data, on_header)
        return {"seconds": time.monotonic() - began}, result
    except AboveThreshold as above:
        return {"above_threshold": above.pixels}, b""
    except ImageError as error:
        return {"error": type(error).__name__, "message": str(error)}, b""
    except MemoryError:
        too_expensive = {"error": "UndecodableImage", "message": str(decoding_aborted())}
        return too_expensive if is_limited else {"out_of_memory": True}, b""
    except Exception:
        return {"worker_error": traceback.format_exc()}, b""


def _decode(request: DecodeRequest, data: bytes, on_header: Callable[[int], None]) -> bytes:
    if request.resize_specs:
        images = prepare(data, request.resize_specs, request.limits, on_header)
        return b"".join(images[spec].tobytes() for spec in request.resize_specs)
    image, thumbnail = decode(data, request.limits, request.thumbnail_side, on_header), BytesIO()
    fit_within(image, request.thumbnail_side).save(thumbnail, "JPEG", quality=85)
    return thumbnail.getvalue()


@contextmanager
def _resource_limits(file_bytes: int) -> Iterator[None]:
    """Set the limits for opening a file, whose number of pixels is unknown; remove all limits at the end."""
    _set_limits(file_bytes, pixels=0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        _limit_memory(_INITIAL_MEMORY_LIMIT)


def _set_limits(file_bytes: int, pixels: int) -> None:
    """Limit CPU time and memory from now on; beyond the CPU time, SIGPROF kills this process."""
    share = pixels / _LARGE_IMAGE_PIXELS
    signal.setitimer(signal.ITIMER_PROF, BASE_CPU_S + LARGE_IMAGE_CPU_S * share)
    with suppress(OSError, ValueError):  # memory is limited only on Linux
        used_pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        extra_bytes = BASE_BYTES + int(LARGE_IMAGE_BYTES * share) + _FILE_COPIES * file_bytes
        _limit_memory(used_pages * resource.getpagesize() + extra_bytes)


def _limit_memory(max_bytes: int) -> None:
    with suppress(OSError, ValueError):
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        finite = [limit for limit in (max_bytes, hard) if limit != resource.RLIM_INFINITY]
        resource.setrlimit(resource.RLIMIT_AS, (min(finite, default=resource.RLIM_INFINITY), hard))


def _requests(pipe: RawIOBase) -> Iterator[tuple[bytes, bytes, int]]:
    """Yield header, image and offset of each request until end of file; return free memory to the system when idle."""
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    keep_freed_memory()  # fresh pages for every image would cost a third more time
    with suppress(EOFError):
        while True:
            if not poll.poll(_IDLE_MS):
                trim_heap()
            header_bytes, image_bytes, offset = REQUEST_PREFIX.unpack(_read(pipe, REQUEST_PREFIX.size))
            yield _read(pipe, header_bytes), _read(pipe, image_bytes), offset


def _read(pipe: RawIOBase, size: int) -> bytes:
    data = bytearray(size)
    rest = memoryview(data)
    while rest:
        count = pipe.readinto(rest)
        if not count:
            raise EOFError
        rest = rest[count:]
    return bytes(data)


def main() -> None:
    """Serve requests until the server closes the connection."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # meant for the server, which needs workers to drain
        signal.signal(number, signal.SIG_IGN)
    os.nice(_NICENESS)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE, encoding="ascii")
    with (
        FileIO(sys.stdin.fileno(), closefd=False) as requests,
        FileIO(os.dup(sys.stdout.fileno()), "w") as responses,
        mmap.mmap(int(sys.argv[1]), 0) as memory,
        suppress(OSError),  # the server has closed the connection
    ):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # libraries must not print into the connection
        _send(responses, READY)
        for header, data, offset in _requests(requests):
            response, body = _handle(DecodeRequest.from_header(header), data)
            if offset != INLINE:
                memory[offset : offset + len(body)] = body
                response, body = {**response, "shared_bytes": len(body)}, b""
            _send(responses, response, body)


def _send(pipe: RawIOBase, header: ResponseHeader, body: bytes = b"") -> None:
    head = json.dumps(header).encode()
    rest = memoryview(RESPONSE_PREFIX.pack(len(head), len(body)) + head + body)
    while rest:
        rest = rest[pipe.write(rest) or 0 :]


if __name__ == "__main__":
    main()
