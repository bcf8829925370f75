"""Encoded images with known pixels, including PNG and TIFF variants that Pillow cannot write."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from models.arrays import Pixels
from tests.support.paths import SHARED_DATA

GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6  # colour types of PNG
Order = Literal["<", ">"]  # byte order in the notation of struct
_SAMPLES = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGB_ALPHA: 4}


def shared(name: str) -> Path:
    """Return the path of a development data file; skip the test if the file is missing."""
    path = SHARED_DATA / name
    if not path.exists():
        pytest.skip(f"needs ../shared/data/{name}, which is not on this machine")
    return path


def noise(height: int, width: int, seed: int = 0) -> Pixels:
    """Return random samples, uint8 [height, width, 3]; all rows and columns differ."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def blocks(height: int = 3, width: int = 4, side: int = 16) -> Pixels:
    """Return flat blocks of different colours, which lossy formats preserve: uint8 [height * side, width * side, 3]."""
    colours = np.random.default_rng(7).integers(30, 226, (height, width, 3), dtype=np.uint8)
    return colours.repeat(side, axis=0).repeat(side, axis=1)


def encode(pixels: Pixels | Image.Image, kind: str, **options: Any) -> bytes:
    buffer = BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return one chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    samples: npt.ArrayLike,
    colour: int,
    bits: int,
    transparent: Sequence[int] | None = None,
    palette: Sequence[tuple[int, int, int]] = (),
    alphas: bytes = b"",
) -> bytes:
    """Encode samples, [height, width] or [height, width, samples], as a PNG without changing any of them."""
    grid = np.asarray(samples)
    height, width = grid.shape[:2]
    flat = grid.reshape(height, width * _SAMPLES[colour])
    shifts = np.arange(bits)[::-1]
    as_bits = (flat[..., None] >> shifts & 1).reshape(height, -1).astype(np.uint8)
    rows = b"".join(b"\0" + row.tobytes() for row in np.packbits(as_bits, axis=1))
    extra = b""
    if palette:
        extra += chunk(b"PLTE", bytes(value for entry in palette for value in entry))
    if transparent is not None:
        extra += chunk(b"tRNS", struct.pack(f">{len(transparent)}H", *transparent))
    if alphas:
        extra += chunk(b"tRNS", alphas)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def huge_png(side: int) -> bytes:
    """Return a black square PNG with one bit per pixel, which takes a few kilobytes."""
    rows = zlib.compress(bytes((side // 8 + 1) * side), 9)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, GREY, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def tiff(
    grid: npt.NDArray[Any],
    order: Order,
    photometric: int = 1,
    tile: int | None = None,
    orientation: int = 1,
    compression: int = 1,
) -> bytes:
    """Return an uncompressed grey TIFF in one strip or in square tiles."""
    height, width = grid.shape
    pixels = grid.astype(grid.dtype.newbyteorder(order)).tobytes()
    parts = [(273, 4, 1), (278, 3, height)] if tile is None else [(322, 3, tile), (323, 3, tile), (324, 4, 1)]
    count = 1 if tile is None else -(-width // tile) * -(-height // tile)
    tags = [
        (256, 3, width),
        (257, 3, height),
        (258, 3, grid.dtype.itemsize * 8),
        (259, 3, compression),
        (262, 3, photometric),
        (274, 3, orientation),
        (277, 3, 1),
        *parts,
    ]
    end = 8 + 2 + 12 * len(tags) + 4
    directory = b""
    for tag, kind, value in sorted(tags):
        number = count if tag == 324 else 1
        value = end if tag in (273, 324) else value
        field = struct.pack(order + "H", value) + b"\0\0" if kind == 3 else struct.pack(order + "I", value)
        directory += struct.pack(order + "HHI", tag, kind, number) + field
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    offsets = b"" if tile is None else struct.pack(order + "I", end) * count
    return head + struct.pack(order + "H", len(tags)) + directory + b"\0\0\0\0" + offsets + pixels


def iso_media(major: bytes, *compatible: bytes) -> bytes:
    """Return the first box of an AVIF, HEIC or MP4 file, followed by 64 zero bytes."""
    box = b"ftyp" + major + bytes(4) + b"".join(compatible)
    return struct.pack(">I", len(box) + 4) + box + bytes(64)
