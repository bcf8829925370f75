"""Formats that are decoded in a process of their own: the same pixels, and bounds that no file can get around."""

from __future__ import annotations

import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models import apart
from models.apart import Apart
from models.classifier import prepare
from models.errors import ImageTooLarge, UndecodableImage, UnsupportedImage
from models.image import FORMATS, Limits, decoded
from models.preprocess import PreprocessSpec
from tests.models.pictures import blocks, encode, noise

SPECS = [PreprocessSpec(size=96, source=32, crop="center"), PreprocessSpec(size=64, crop="none")]
needs_avif = pytest.mark.skipif("AVIF" not in FORMATS, reason="this Pillow was built without AVIF")


@pytest.fixture
def decoder() -> Iterator[Apart]:
    decoder = Apart()
    yield decoder
    decoder.close()


def children() -> set[int]:
    listed = (task / "children" for task in Path("/proc/self/task").iterdir())
    return {int(child) for each in listed for child in each.read_text(encoding="ascii").split()}


def hiding(side: int, said: int = 64) -> bytes:
    """An AVIF of side x side that says it is much smaller."""
    data = bytearray(encode(Image.new("RGB", (side, side), (9, 90, 9)), "AVIF", speed=10, quality=10))
    sizes = data.index(b"ispe") + 8
    data[sizes : sizes + 8] = struct.pack(">II", said, said)
    return bytes(data)


@pytest.mark.parametrize("kind", [pytest.param("AVIF", marks=needs_avif), "TIFF", "PNG"])
def test_pixels_are_those_of_decoding_here(decoder: Apart, kind: str) -> None:
    data = encode(noise(130, 90), kind)
    found, expected = decoder.prepare(data, SPECS), prepare(data, SPECS)
    assert found.keys() == expected.keys()
    for spec, pixels in expected.items():
        assert np.array_equal(found[spec], pixels)


def test_a_thumbnail_is_that_of_decoding_here(decoder: Apart) -> None:
    data = encode(noise(300, 200), "TIFF")
    expected = decoded(data)
    expected.thumbnail((100, 100))
    assert np.array_equal(np.array(decoder.thumbnail(data, 100)), np.array(expected))
    with pytest.raises(UndecodableImage, match="may be cut short"):
        decoder.thumbnail(data[:-1000], 100)


def test_errors_are_those_of_decoding_here(decoder: Apart) -> None:
    data = encode(noise(60, 60), "TIFF")
    with pytest.raises(UndecodableImage, match="may be cut short"):
        decoder.prepare(data[: len(data) // 2], SPECS)
    with pytest.raises(ImageTooLarge, match="3,600 pixels; the limit is 100"):
        decoder.prepare(data, SPECS, Limits(max_pixels=100))
    with pytest.raises(UnsupportedImage):
        decoder.prepare(b"<p>", SPECS)
    assert decoder.prepare(data, SPECS)


def test_the_size_is_told_before_anything_is_decoded(decoder: Apart) -> None:
    told = list[int]()
    decoder.prepare(encode(noise(50, 40), "TIFF"), SPECS, before=told.append)
    assert told == [2000]
    assert [apart.is_for_apart(encode(blocks(), kind)) for kind in ("TIFF", "JPEG", "PNG")] == [True, False, False]
    assert not apart.is_for_apart(b"")


@needs_avif
def test_a_frame_that_needs_too_much_memory_is_refused_and_the_next_picture_is_not(
    decoder: Apart, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apart, "_started", lambda: _started_with("apart.BASE_BYTES = 16_000_000"))
    assert decoder.prepare(hiding(256), SPECS), "a picture that hides little is decoded"
    with pytest.raises(UndecodableImage):
        decoder.prepare(hiding(4000), SPECS)
    assert decoder.prepare(encode(noise(60, 60), "AVIF"), SPECS)


@needs_avif
def test_a_picture_that_takes_too_long_is_refused_and_its_process_ends(
    decoder: Apart, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apart, "_started", lambda: _started_with("apart.BASE_S = apart.MORE_S = 0.05"))
    data = encode(noise(2500, 2500), "AVIF", speed=10)
    for _ in range(2):
        with pytest.raises(UndecodableImage, match="takes too long"):
            decoder.prepare(data, SPECS)
    assert not decoder._all
    assert decoder.prepare(encode(noise(20, 20), "AVIF"), SPECS)


def test_a_decoder_that_crashes_costs_its_picture_only(decoder: Apart, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(noise(60, 60), "TIFF")
    monkeypatch.setattr(apart, "_started", lambda: _started_with("apart.prepare = lambda *_: __import__('os').abort()"))
    with pytest.raises(UndecodableImage, match="breaks the decoder"):
        decoder.prepare(data, SPECS)
    monkeypatch.undo()
    assert decoder.prepare(data, SPECS)


def avif_with_values(count: int) -> bytes:
    """Rotated, with metadata that say nothing of it: opening it, Pillow makes an object of each value."""
    values = struct.pack("<II", 1, 1) * count
    exif = b"II*\0" + struct.pack("<IHHHIIHHIII", 8, 2, 0x0112, 3, 1, 6, 0x9999, 5, count, 38, 0) + values
    return encode(Image.new("RGB", (64, 64)), "AVIF", exif=exif)


@needs_avif
def test_a_file_that_takes_long_to_open_is_opened_in_the_other_process(decoder: Apart) -> None:
    data = avif_with_values(1_000_000)
    decoder.prepare(encode(noise(9, 9), "TIFF"), SPECS)
    began = time.process_time()
    with pytest.raises(UndecodableImage):
        decoder.prepare(data, SPECS, before=lambda _: None)
    assert time.process_time() - began < 1
    assert decoder.prepare(encode(noise(20, 20), "AVIF"), SPECS)


def test_an_answer_that_was_not_waited_for_is_nobody_else_s(decoder: Apart, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = encode(noise(40, 40), "TIFF"), encode(np.zeros((40, 40, 3), np.uint8), "TIFF")
    decoder.prepare(first, SPECS)
    with monkeypatch.context() as patched:
        patched.setattr(apart, "_receive", raises_memory_error)
        with pytest.raises(MemoryError):
            decoder.prepare(first, SPECS)
    assert not decoder.prepare(second, SPECS)[SPECS[0]].any(), "the picture of somebody else"


def raises_memory_error(*_: object) -> None:
    raise MemoryError


def test_a_process_that_only_waits_is_given_up(decoder: Apart, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(noise(40, 40), "TIFF")
    monkeypatch.setattr(
        apart, "_started", lambda: _started_with("apart.prepare = lambda *_: __import__('time').sleep(60)")
    )
    monkeypatch.setattr(apart, "WALL_S", 3.0)
    with pytest.raises(UndecodableImage, match="takes too long"):
        decoder.prepare(data, SPECS)
    assert not decoder._all


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_for_the_whole_service_leave_it_at_work(decoder: Apart, number: signal.Signals) -> None:
    data = encode(noise(40, 40), "TIFF")
    decoder.prepare(data, SPECS)
    (process,) = decoder._all
    process.send_signal(number)
    assert decoder.prepare(data, SPECS)
    assert process.poll() is None


def test_one_that_was_ended_between_two_pictures_is_replaced_and_leaves_nothing_open(decoder: Apart) -> None:
    data = encode(noise(40, 40), "TIFF")
    decoder.prepare(data, SPECS)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        (process,) = decoder._all
        process.kill()
        process.wait()
        assert decoder.prepare(data, SPECS)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_each_thread_has_a_process_of_its_own_and_none_is_left(decoder: Apart) -> None:
    before, data = children(), encode(noise(60, 60), "TIFF")
    with ThreadPoolExecutor(2) as pool:
        for _ in range(3):
            list(pool.map(lambda _: decoder.prepare(data, SPECS), range(8)))
        assert 1 <= len(children() - before) <= 2, "processes are kept from picture to picture"
    decoder.close()
    assert children() <= before
    with pytest.raises(UndecodableImage, match="shutting down"):
        Apart.prepare(decoder, data, SPECS)


def test_a_process_ends_with_the_one_that_started_it() -> None:
    code = (
        "import os, sys; from models.apart import Apart; from models.preprocess import PreprocessSpec\n"
        "a = Apart(); a.prepare(sys.stdin.buffer.read(), [PreprocessSpec(size=64)])\n"
        "print(*[p.pid for p in a._all], flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code], input=encode(noise(9, 9), "TIFF"), capture_output=True)
    (left,) = map(int, done.stdout.split())
    until = time.monotonic() + 10
    while Path(f"/proc/{left}").exists() and time.monotonic() < until:
        time.sleep(0.02)
    assert not Path(f"/proc/{left}").exists(), "it still waits for pictures"


def _started_with(change: str) -> subprocess.Popen[bytes]:
    code = f"from models import apart; {change}; apart.main()"
    return subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
