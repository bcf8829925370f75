"""Pictures that tests send, whole and broken."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import numpy as np
from PIL import Image

from tests.support.tiny_app import COLOURS


def encoded(colour: str = "red", kind: str = "PNG", size: tuple[int, int] = (64, 48)) -> bytes:
    """A picture of one colour with a little noise."""
    width, height = size
    noise = np.random.default_rng(1).integers(-8, 9, (height, width, 3))
    pixels = np.clip(np.array(COLOURS[colour]) + noise, 0, 255).astype(np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def huge_png(side: int = 10_000) -> bytes:
    """A PNG of side x side pixels in a few kilobytes."""
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)  # one bit a pixel
    return _png(header, zlib.compress(bytes((side // 8 + 1) * side), 9))


HEIC = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(64)


def veiled_png(megapixels: int) -> bytes:
    """A PNG of one half transparent red, in some hundred kilobytes: what costs most to decode for its bytes."""
    width, height = 1000 * megapixels // 5, 5000
    packer = zlib.compressobj(6)
    row = b"\x00" + bytes((*COLOURS["red"], 200)) * width
    rows = b"".join([packer.compress(row) for _ in range(height)]) + packer.flush()
    return _png(struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0), rows)


def _png(header: bytes, rows: bytes) -> bytes:
    chunks = ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))
    packed = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)
