"""A process that decodes pictures: the same pixels and errors as here, and bounds that no file can get around."""

from __future__ import annotations

import os
import platform
import resource
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.decoding import protocol as wishes
from models.decoding import worker as apart
from models.decoding.image import DEFAULT_LIMITS, FORMATS, Limits, decode
from models.decoding.protocol import AboveThreshold
from models.errors import EmptyImage, ImageTooLarge, UndecodableImage, UnsupportedImage
from models.preprocess import prepare
from tests.support.decode_worker import SPECS, WAIT_S, Decoder, changed, runs, started
from tests.support.images import blocks, encode, noise
from tests.support.paths import ROOT

needs_avif = pytest.mark.skipif("AVIF" not in FORMATS, reason="this Pillow was built without AVIF")
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc and limits of memory are Linux's")
KINDS = [pytest.param("AVIF", marks=needs_avif), "JPEG", "PNG", "TIFF", "WebP"]


@pytest.fixture(scope="module")
def shared() -> Iterator[Decoder]:
    """For tests that leave it as it is."""
    with started() as decoder:
        yield decoder


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    with started() as decoder:
        yield decoder


def eventually(holds: Callable[[], bool]) -> bool:
    until = time.monotonic() + WAIT_S
    while not holds() and time.monotonic() < until:
        time.sleep(0.02)
    return holds()


def kilobytes(decoder: Decoder, name: str) -> int:
    status = Path(f"/proc/{decoder.process.pid}/status").read_text(encoding="ascii")
    return int(status.partition(f"{name}:")[2].split()[0])


def soft_limit(decoder: Decoder) -> int:
    return resource.prlimit(decoder.process.pid, resource.RLIMIT_AS)[0]


def hiding(side: int, said: int = 64) -> bytes:
    """An AVIF of side x side that says it is much smaller."""
    data = bytearray(encode(Image.new("RGB", (side, side), (9, 90, 9)), "AVIF", speed=10, quality=10))
    sizes = data.index(b"ispe") + 8
    data[sizes : sizes + 8] = struct.pack(">II", said, said)
    return bytes(data)


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_are_those_of_decoding_here(shared: Decoder, kind: str) -> None:
    data = encode(noise(130, 90), kind)
    found, expected = shared.prepare(data), prepare(data, SPECS)
    assert found.keys() == expected.keys()
    for spec, pixels in expected.items():
        assert np.array_equal(found[spec], pixels)


def test_a_file_that_no_pipe_holds_at_once_arrives_whole(shared: Decoder) -> None:
    data = encode(noise(1000, 1000), "PNG")
    assert np.array_equal(shared.prepare(data)[SPECS[0]], prepare(data, SPECS)[SPECS[0]])


@pytest.mark.parametrize("kind", KINDS)
def test_a_thumbnail_is_a_jpeg_of_what_decoding_here_gives(shared: Decoder, kind: str) -> None:
    data, expected = encode(noise(300, 200), kind), BytesIO()
    picture = decode(data, DEFAULT_LIMITS, 100)
    picture.thumbnail((100, 100))
    picture.save(expected, "JPEG", quality=85)
    assert shared.thumbnail(data, 100) == expected.getvalue()


def test_errors_are_those_of_decoding_here(shared: Decoder) -> None:
    data = encode(noise(60, 60), "TIFF")
    with pytest.raises(UndecodableImage, match="may be cut short"):
        shared.prepare(data[: len(data) // 2])
    with pytest.raises(UndecodableImage, match="may be cut short"):
        shared.thumbnail(data[: len(data) // 2], 30)
    with pytest.raises(ImageTooLarge, match="3,600 pixels; the limit is 100"):
        shared.prepare(data, limits=Limits(max_pixels=100))
    with pytest.raises(UnsupportedImage):
        shared.prepare(b"<p>")
    with pytest.raises(EmptyImage):
        shared.prepare(b"")
    assert shared.prepare(data)


@pytest.mark.parametrize("kind", KINDS)
def test_one_with_more_pixels_than_are_wanted_is_known_by_its_header(shared: Decoder, kind: str) -> None:
    data = encode(noise(50, 40), kind)
    assert shared.prepare(data, most=2000)
    with pytest.raises(AboveThreshold):
        shared.prepare(data, most=1999)
    if kind not in ("AVIF", "WebP"):  # whose headers are found in whole files only
        with pytest.raises(AboveThreshold):
            shared.prepare(data[:-20], most=1999)
    assert shared.prepare(data)


def test_formats_whose_decoders_can_be_outwitted_are_bounded() -> None:
    assert [apart.is_bounded(encode(blocks(), kind)) for kind in ("TIFF", "JPEG", "PNG", "WebP")] == [True] + [
        False
    ] * 3
    assert not apart.is_bounded(b"")


@needs_linux
@needs_avif
def test_a_frame_that_needs_too_much_memory_is_refused() -> None:
    with started(changed("apart.BASE_BYTES = 16_000_000")) as decoder:
        assert decoder.prepare(hiding(256)), "a picture that hides little is decoded"
        with pytest.raises((UndecodableImage, EOFError)):
            decoder.prepare(hiding(4000))


@needs_linux
def test_no_limit_is_left_for_the_picture_that_follows(decoder: Decoder) -> None:
    data = encode(noise(60, 60), "TIFF")
    assert decoder.prepare(data)
    with pytest.raises(UndecodableImage):
        decoder.prepare(data[:200])
    assert soft_limit(decoder) == resource.RLIM_INFINITY


@needs_avif
def test_a_picture_that_takes_too_long_ends_its_process() -> None:
    with started(changed("apart.BASE_S = apart.MORE_S = 0.05")) as decoder:
        with pytest.raises(EOFError):
            decoder.prepare(encode(noise(2500, 2500), "AVIF", speed=10))
        assert decoder.process.wait(WAIT_S) == -signal.SIGPROF


def avif_with_values(count: int) -> bytes:
    """Rotated, with metadata that say nothing of it: opening it, Pillow makes an object of each value."""
    values = struct.pack("<II", 1, 1) * count
    exif = b"II*\0" + struct.pack("<IHHHIIHHIII", 8, 2, 0x0112, 3, 1, 6, 0x9999, 5, count, 38, 0) + values
    return encode(Image.new("RGB", (64, 64)), "AVIF", exif=exif)


@needs_avif
def test_a_file_that_takes_long_to_open_is_bounded_before_it_has_said_its_size() -> None:
    with started(changed("apart.BASE_S = 0.1")) as decoder:
        with pytest.raises(EOFError):
            decoder.prepare(avif_with_values(200_000), most=10)
        assert decoder.process.wait(WAIT_S) == -signal.SIGPROF


@needs_linux
def test_too_little_memory_is_no_fault_of_a_picture_and_a_limit_from_outside_stays(decoder: Decoder) -> None:
    large, small = encode(Image.new("RGB", (5000, 5000)), "PNG"), encode(noise(60, 60), "TIFF")
    assert decoder.prepare(small)
    most = 1024 * kilobytes(decoder, "VmSize") + 50_000_000
    resource.prlimit(decoder.process.pid, resource.RLIMIT_AS, (most, most))
    for _ in range(2):
        with pytest.raises(MemoryError):
            decoder.prepare(large)
        assert decoder.prepare(small)
    assert soft_limit(decoder) == most


@needs_linux
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left alone")
def test_memory_is_given_back_at_rest(decoder: Decoder) -> None:
    decoder.prepare(encode(noise(60, 60), "PNG"))
    before = kilobytes(decoder, "VmRSS")
    decoder.prepare(encode(Image.new("RGB", (9000, 5000), "red"), "PNG"))
    assert kilobytes(decoder, "VmHWM") > before + 150_000
    assert eventually(lambda: kilobytes(decoder, "VmRSS") < before + 20_000)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_for_the_whole_service_leave_it_at_work(shared: Decoder, number: signal.Signals) -> None:
    shared.process.send_signal(number)
    assert shared.prepare(encode(noise(40, 40), "TIFF"))
    assert shared.process.poll() is None


def test_what_a_library_prints_is_no_answer() -> None:
    with started(
        changed("real = apart.prepared\napart.prepared = lambda *a: print('!', flush=True) or real(*a)")
    ) as decoder:
        assert decoder.prepare(encode(noise(40, 40), "PNG"))


@needs_linux
def test_what_a_server_was_told_is_not_in_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("APP_API_KEYS_FILE", "CLASSIFIER_API_KEY", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "a secret")
    with started() as decoder:
        environment = Path(f"/proc/{decoder.process.pid}/environ").read_bytes()
    names = {each.partition(b"=")[0].decode() for each in environment.split(b"\0") if each}
    assert "PATH" in names
    assert names <= {*wishes._ENVIRONMENT, "OPENBLAS_NUM_THREADS"}
    assert b"a secret" not in environment


@needs_linux
def test_it_lets_the_server_go_first(shared: Decoder) -> None:
    ours, its = (os.getpriority(os.PRIO_PROCESS, pid) for pid in (0, shared.process.pid))
    assert its == min(19, ours + 10)


@needs_linux
def test_where_memory_is_short_it_goes_before_the_server(shared: Decoder) -> None:
    assert int(Path(f"/proc/{shared.process.pid}/oom_score_adj").read_text(encoding="ascii")) == 1000
    assert os.getpgid(shared.process.pid) != os.getpgrp(), "Ctrl+C is for the server"


@needs_linux
@pytest.mark.parametrize("is_at_work", [False, True])
def test_a_process_ends_with_the_one_that_started_it(is_at_work: bool) -> None:
    code = (
        "import os, sys; from tests.support.decode_worker import *\n"
        "decoder = Decoder(wishes.start); data = sys.stdin.buffer.read()\n"
        "if data: decoder.send(Wish((SPECS[0].steps,), DEFAULT_LIMITS), data)\n"
        "print(decoder.process.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    picture = encode(Image.new("RGB", (4000, 4000)), "PNG") if is_at_work else b""
    done = subprocess.run([sys.executable, "-c", code], input=picture, capture_output=True, cwd=ROOT)
    assert eventually(lambda: not runs(int(done.stdout))), "it still waits for pictures"
