"""Encoded images that tests upload, valid and broken, in the colours that the tiny classifiers recognize."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import numpy as np
from PIL import Image

from models.arrays import Pixels
from tests.support.colour_images import COLOURS
from tests.support.images import RGB_ALPHA, chunk, encode

TRUNCATED_HEIC = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(64)
"""The beginning of a HEIC file."""


def encoded(colour: str = "red", kind: str = "PNG", size: tuple[int, int] = (64, 48)) -> bytes:
    """Encode an image of one colour with a little noise."""
    width, height = size
    noise = np.random.default_rng(1).integers(-8, 9, (height, width, 3))
    return encode(np.clip(np.array(COLOURS[colour]) + noise, 0, 255).astype(np.uint8), kind)


def decoded_pixels(image: bytes) -> Pixels:
    """Decode an image with Pillow alone: uint8 [height, width, 3]."""
    return np.asarray(Image.open(BytesIO(image)).convert("RGB"))


def translucent_png(megapixels: int) -> bytes:
    """Encode a half transparent red PNG of a few hundred kilobytes, which takes long to decode for its size."""
    width, height = 1000 * megapixels // 5, 5000
    packer = zlib.compressobj(6)
    row = b"\x00" + bytes((*COLOURS["red"], 200)) * width
    rows = b"".join([packer.compress(row) for _ in range(height)]) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, RGB_ALPHA, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
