"""Decode workers: the same pixels and errors as in process, and enforced resource limits."""

from __future__ import annotations

import os
import platform
import resource
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.decoding import protocol, worker
from models.decoding.errors import EmptyImage, ImageTooLarge, UndecodableImage, UnsupportedImage
from models.decoding.image import FORMATS, decode
from models.decoding.limits import DEFAULT_LIMITS, Limits
from models.decoding.protocol import AboveThreshold
from models.decoding.resample import fit_within
from models.preprocess import PreprocessSpec, prepare
from tests.support.decode_worker import SPECS, WAIT_S, WorkerConnection, is_running, patched_worker, running_worker
from tests.support.images import blocks, encode, noise
from tests.support.paths import ROOT
from tests.support.polling import wait_until

needs_avif = pytest.mark.skipif("AVIF" not in FORMATS, reason="this Pillow was built without AVIF")
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and memory limits of Linux")
KINDS = [pytest.param("AVIF", marks=needs_avif), "JPEG", "PNG", "TIFF", "WebP"]


@pytest.fixture(scope="module")
def shared() -> Iterator[WorkerConnection]:
    """A worker for tests that do not change it."""
    with running_worker() as decoder:
        yield decoder


@pytest.fixture
def decoder() -> Iterator[WorkerConnection]:
    with running_worker() as decoder:
        yield decoder


def kilobytes(decoder: WorkerConnection, name: str) -> int:
    status = Path(f"/proc/{decoder.process.pid}/status").read_text(encoding="ascii")
    return int(status.partition(f"{name}:")[2].split()[0])


def soft_limit(decoder: WorkerConnection) -> int:
    return resource.prlimit(decoder.process.pid, resource.RLIMIT_AS)[0]


def avif_with_hidden_frame(side: int, declared_side: int = 64) -> bytes:
    """Return an AVIF with a frame of side x side and a header that declares a much smaller size."""
    data = bytearray(encode(Image.new("RGB", (side, side), (9, 90, 9)), "AVIF", speed=10, quality=10))
    sizes = data.index(b"ispe") + 8
    data[sizes : sizes + 8] = struct.pack(">II", declared_side, declared_side)
    return bytes(data)


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_equal_decoding_in_process(shared: WorkerConnection, kind: str) -> None:
    data = encode(noise(130, 90), kind)
    actual, expected = shared.prepare(data), prepare(data, SPECS)
    assert actual.keys() == expected.keys()
    for spec, pixels in expected.items():
        assert np.array_equal(actual[spec], pixels)


def test_results_touch_no_other_place_in_shared_memory(decoder: WorkerConnection) -> None:
    """Two results side by side: each is complete, and no byte before, between or after them changes."""
    request = protocol.DecodeRequest(tuple(spec.resize_spec for spec in SPECS), DEFAULT_LIMITS)
    size, images = request.response_bytes, [encode(noise(130, 90, seed), "PNG") for seed in (1, 2)]
    assert size == (96**2 + 64**2) * 3
    decoder.memory[:] = b"\xa5" * len(decoder.memory)
    first, second = 1000, 1000 + size
    for offset, data in ((second, images[1]), (first, images[0])):
        decoder.send(request, data, offset)
        header, body = decoder.receive()
        assert (header["shared_bytes"], body) == (size, b"")
    expected = [b"".join(prepare(data, SPECS)[spec].tobytes() for spec in SPECS) for data in images]
    memory = bytes(decoder.memory)
    assert memory[first:second] == expected[0]
    assert memory[second : second + size] == expected[1]
    assert set(memory[:first] + memory[second + size :]) == {0xA5}


def test_shared_memory_has_a_place_for_each_image() -> None:
    assert protocol.SLOT_BYTES == 2**20 >= 3 * PreprocessSpec(size=299).resize_spec.nbytes
    with protocol.create_shared_memory(3) as memory:
        assert os.fstat(memory.fileno()).st_size == 3 * 2**20
        if sys.platform == "linux":
            for size in (2**20, 4 * 2**20):
                with pytest.raises(PermissionError):
                    memory.truncate(size)


def test_request_is_the_same_after_the_header() -> None:
    specs = tuple(
        PreprocessSpec(size=48, source=24).model_copy(update=change).resize_spec
        for change in (
            {},
            {"crop": "none"},
            {"shrink": "box"},
            {"enlarge": "box"},
            {"source": None},
            {"decode_margin": 2},
        )
    )
    request = protocol.DecodeRequest(specs, Limits(1, 2, 3), 4, 5)
    assert protocol.DecodeRequest.from_header(request.header) == request
    assert request.response_bytes == len(specs) * 48 * 48 * 3


@needs_linux
@pytest.mark.parametrize(("pixels", "cpu_s", "share_bytes"), [(0, 1, 0), (50_000_000, 16, 800_000_000)])
def test_limits_grow_with_the_declared_pixels(pixels: int, cpu_s: float, share_bytes: int) -> None:
    """The program prints the CPU time and the memory that a file of 1 MB may take in addition."""
    code = (
        "import resource, signal\n"
        "from pathlib import Path\n"
        "from models.decoding import worker\n"
        "used = lambda: int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()\n"
        f"before = used(); worker._set_limits(1_000_000, {pixels})\n"
        "print(signal.getitimer(signal.ITIMER_PROF)[0], resource.getrlimit(resource.RLIMIT_AS)[0] - before)"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True).stdout
    seconds, extra_bytes = map(float, printed.split())
    assert seconds == pytest.approx(cpu_s, abs=0.2)
    assert extra_bytes == pytest.approx(100_000_000 + share_bytes + 4 * 1_000_000, abs=2_000_000)


def test_file_larger_than_a_pipe_buffer(shared: WorkerConnection) -> None:
    data = encode(noise(1000, 1000), "PNG")
    assert np.array_equal(shared.prepare(data)[SPECS[0]], prepare(data, SPECS)[SPECS[0]])


@pytest.mark.parametrize("kind", KINDS)
def test_thumbnail_equals_decoding_in_process(shared: WorkerConnection, kind: str) -> None:
    data, expected = encode(noise(300, 200), kind), BytesIO()
    fit_within(decode(data, DEFAULT_LIMITS, 100), 100).save(expected, "JPEG", quality=85)
    assert shared.thumbnail(data, 100) == expected.getvalue()


def test_errors_equal_decoding_in_process(shared: WorkerConnection) -> None:
    data = encode(noise(60, 60), "TIFF")
    with pytest.raises(UndecodableImage, match="may be truncated"):
        shared.prepare(data[: len(data) // 2])
    with pytest.raises(UndecodableImage, match="may be truncated"):
        shared.thumbnail(data[: len(data) // 2], 30)
    with pytest.raises(ImageTooLarge, match="3,600 pixels; the limit is 100"):
        shared.prepare(data, limits=Limits(max_pixels=100))
    with pytest.raises(UnsupportedImage):
        shared.prepare(b"<p>")
    with pytest.raises(EmptyImage):
        shared.prepare(b"")
    assert shared.prepare(data)


@pytest.mark.parametrize("kind", KINDS)
def test_image_above_the_pixel_threshold_is_not_decoded(shared: WorkerConnection, kind: str) -> None:
    data = encode(noise(50, 40), kind)
    assert shared.prepare(data, max_pixels=2000)
    with pytest.raises(AboveThreshold):
        shared.prepare(data, max_pixels=1999)
    if kind not in ("AVIF", "WebP"):  # whose headers can be read only from complete files
        with pytest.raises(AboveThreshold):
            shared.prepare(data[:-20], max_pixels=1999)
    assert shared.prepare(data)


def test_avif_and_tiff_have_resource_limits() -> None:
    assert [worker.has_resource_limits(encode(blocks(), kind)) for kind in ("TIFF", "JPEG", "PNG", "WebP")] == [
        True
    ] + [False] * 3
    assert not worker.has_resource_limits(b"")


@needs_linux
@needs_avif
def test_frame_that_needs_too_much_memory_is_rejected() -> None:
    with running_worker(patched_worker("worker.BASE_BYTES = 16_000_000")) as decoder:
        assert decoder.prepare(avif_with_hidden_frame(256)), "a small hidden frame must be decoded"
        with pytest.raises((UndecodableImage, EOFError)):
            decoder.prepare(avif_with_hidden_frame(4000))


@needs_linux
def test_limits_are_removed_after_each_image(decoder: WorkerConnection) -> None:
    data = encode(noise(60, 60), "TIFF")
    assert decoder.prepare(data)
    with pytest.raises(UndecodableImage):
        decoder.prepare(data[:200])
    assert soft_limit(decoder) == resource.RLIM_INFINITY


@needs_avif
def test_image_beyond_the_cpu_limit_kills_the_worker() -> None:
    with running_worker(patched_worker("worker.BASE_CPU_S = worker.LARGE_IMAGE_CPU_S = 0.05")) as decoder:
        with pytest.raises(EOFError):
            decoder.prepare(encode(noise(2500, 2500), "AVIF", speed=10))
        assert decoder.process.wait(WAIT_S) == -signal.SIGPROF


def avif_with_values(count: int) -> bytes:
    """Return a rotated AVIF with many metadata values; Pillow creates an object for each while opening it."""
    values = struct.pack("<II", 1, 1) * count
    exif = b"II*\0" + struct.pack("<IHHHIIHHIII", 8, 2, 0x0112, 3, 1, 6, 0x9999, 5, count, 38, 0) + values
    return encode(Image.new("RGB", (64, 64)), "AVIF", exif=exif)


@needs_avif
def test_cpu_limit_applies_while_the_header_is_parsed() -> None:
    with running_worker(patched_worker("worker.BASE_CPU_S = 0.1")) as decoder:
        with pytest.raises(EOFError):
            decoder.prepare(avif_with_values(200_000), max_pixels=10)
        assert decoder.process.wait(WAIT_S) == -signal.SIGPROF


@needs_linux
def test_external_memory_limit_is_kept_and_reported_as_memory_error(decoder: WorkerConnection) -> None:
    large, small = encode(Image.new("RGB", (5000, 5000)), "PNG"), encode(noise(60, 60), "TIFF")
    assert decoder.prepare(small)
    max_bytes = 1024 * kilobytes(decoder, "VmSize") + 50_000_000
    resource.prlimit(decoder.process.pid, resource.RLIMIT_AS, (max_bytes, max_bytes))
    for _ in range(2):
        with pytest.raises(MemoryError):
            decoder.prepare(large)
        assert decoder.prepare(small)
    assert soft_limit(decoder) == max_bytes


@needs_linux
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="memory is returned only with glibc")
def test_idle_worker_returns_memory_to_the_system(decoder: WorkerConnection) -> None:
    decoder.prepare(encode(noise(60, 60), "PNG"))
    before = kilobytes(decoder, "VmRSS")
    decoder.prepare(encode(Image.new("RGB", (9000, 5000), "red"), "PNG"))
    assert kilobytes(decoder, "VmHWM") > before + 150_000
    wait_until(lambda: kilobytes(decoder, "VmRSS") < before + 20_000)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_for_the_server_do_not_stop_a_worker(shared: WorkerConnection, number: signal.Signals) -> None:
    shared.process.send_signal(number)
    assert shared.prepare(encode(noise(40, 40), "TIFF"))
    assert shared.process.poll() is None


def test_output_of_libraries_does_not_reach_the_connection() -> None:
    with running_worker(
        patched_worker("real = worker.prepare\nworker.prepare = lambda *a: print('!', flush=True) or real(*a)")
    ) as decoder:
        assert decoder.prepare(encode(noise(40, 40), "PNG"))


@needs_linux
def test_worker_environment_has_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("APP_API_KEYS_FILE", "CLASSIFIER_API_KEY", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "a secret")
    with running_worker() as decoder:
        environment = Path(f"/proc/{decoder.process.pid}/environ").read_bytes()
    names = {entry.partition(b"=")[0].decode() for entry in environment.split(b"\0") if entry}
    assert "PATH" in names
    assert names <= {*protocol._ENVIRONMENT, "OPENBLAS_NUM_THREADS"}
    assert b"a secret" not in environment


@needs_linux
def test_worker_has_lower_priority_than_the_server(shared: WorkerConnection) -> None:
    server, its_worker = (os.getpriority(os.PRIO_PROCESS, pid) for pid in (0, shared.process.pid))
    assert its_worker == min(19, server + 10)


@needs_linux
def test_out_of_memory_killer_prefers_the_worker(shared: WorkerConnection) -> None:
    assert int(Path(f"/proc/{shared.process.pid}/oom_score_adj").read_text(encoding="ascii")) == 1000
    assert os.getpgid(shared.process.pid) != os.getpgrp(), "Ctrl+C must reach only the server"


@needs_linux
@pytest.mark.parametrize("is_busy", [False, True])
def test_worker_exits_with_its_parent(is_busy: bool) -> None:
    code = (
        "import os, sys\n"
        "from models.decoding import protocol\n"
        "from models.decoding.limits import DEFAULT_LIMITS\n"
        "from tests.support.decode_worker import SPECS, WorkerConnection\n"
        "decoder = WorkerConnection(protocol.spawn); data = sys.stdin.buffer.read()\n"
        "if data: decoder.send(protocol.DecodeRequest((SPECS[0].resize_spec,), DEFAULT_LIMITS), data)\n"
        "print(decoder.process.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    data = encode(Image.new("RGB", (4000, 4000)), "PNG") if is_busy else b""
    process = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, cwd=ROOT)
    wait_until(lambda: not is_running(int(process.stdout)))


def test_worker_does_not_wait_for_its_idle_interval_between_requests(shared: WorkerConnection) -> None:
    data, count = encode(noise(32, 32), "PNG"), 20
    started = time.monotonic()
    for _ in range(count):
        shared.prepare(data)
    assert time.monotonic() - started < count * worker._IDLE_MS / 1000 / 2
