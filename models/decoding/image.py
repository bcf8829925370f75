"""Image decoding: encoded bytes -> upright RGB, 8 bits per channel.

Training and serving touch pixels only here and in `models.decoding.resample`. An image is accepted or rejected by its
first bytes and its header, before any pixel is decoded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from PIL import Image, ImageFile, features
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import PHOTOMETRIC_INTERPRETATION, TiffImageFile

from models.decoding import errors
from models.decoding.limits import (
    DEFAULT_LIMITS,
    MAX_EXIF_BYTES,
    BoundedReader,
    Limits,
    check_decoding_work,
    check_size,
    check_structure,
)

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
)
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}

FORMATS = ("JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF", *(("AVIF",) if features.check("avif") else ()), "HEIC")

# What `curl -d @file` removes from a file; an image without any of these bytes is not long.
_STRIPPED_BYTES = (b"\r", b"\n", b"\0")
_MIN_STRIPPED_LENGTH = 64
_STRIPPED_PNG = b"\x89PNG\x1a"
_BINARY = re.compile(rb"[\x01-\x08\x0e-\x1f]")  # control characters that text does not have

_EXIF_ORIENTATION = 0x0112
_EXIF_KEYS = ("exif", "Raw profile type exif")
_TRANSPOSE_BY_ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_WHITE_IS_ZERO = 0
_JPEG_REDUCTIONS = (2, 4, 8)  # DCT scaling: the decoder computes fewer samples of each block of 8 x 8
_STRIP_PIXELS = 1_000_000
_GREY_LEVEL_FACTORS = {"L;2": 85, "L;4": 17}  # raw mode -> factor from 2 or 4 bits to 8 bits


def sniff(data: bytes) -> str:
    """Return Pillow's name of the format, or HEIC, from the first bytes.

    Raises:
        UnsupportedImage: the first bytes match no supported format.
    """
    for magic, name in _MAGIC:
        if data.startswith(magic):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp":
        return _sniff_iso_media(data)
    raise errors.stripped(None) if _is_stripped(data) else errors.unknown_format(FORMATS)


def _sniff_iso_media(data: bytes) -> str:
    """Distinguish AVIF from HEIC by the brands of their common container (ISO/IEC 14496-12, 4.3)."""
    box = data[: min(int.from_bytes(data[:4]), 256)]
    brands = {box[8:12]} | {box[i : i + 4] for i in range(16, len(box), 4)}
    if brands & _AVIF_BRANDS and "AVIF" in FORMATS:
        return "AVIF"
    if brands & _HEIC_BRANDS:
        return "HEIC"
    raise errors.unknown_iso_media(FORMATS)


def decode(
    data: bytes,
    limits: Limits = DEFAULT_LIMITS,
    min_side: int | None = None,
    on_header: Callable[[int], object] | None = None,
) -> Image.Image:
    """Decode an image to upright RGB: the first frame, transparency composited on white, 8 bits per channel.

    Args:
        data: the encoded file.
        limits: checked on the bytes and the header, before pixels are decoded.
        min_side: if set, a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size (DCT scaling), as long as both sides keep
            at least this many pixels.
        on_header: called with width times height after the header is checked, before pixels are decoded.

    Returns:
        A Pillow image of mode RGB: for large images, conversion to an array would cost half as much time as decoding.

    Raises:
        EmptyImage, UnsupportedImage, ImageTooLarge, UndecodableImage: and no other error, whatever Pillow raises on
            damaged data.
    """
    with _open(data, limits) as image:
        if on_header:
            on_header(image.width * image.height)
        factor = _reduction(image, min_side)
        if factor > 1:
            image.draft(None, (image.width // factor, image.height // factor))
        _scale_transparent_level(image)
        image.load()
        return _to_rgb(_apply_orientation(image))


def reductions(data: bytes, min_sides: Iterable[int | None], limits: Limits = DEFAULT_LIMITS) -> dict[int | None, int]:
    """Return for each `min_side` the factor by which `decode` reduces the sides: 1, 2, 4 or 8; raises like `decode`."""
    with _open(data, limits) as image:
        return {min_side: _reduction(image, min_side) for min_side in min_sides}


def _reduction(image: ImageFile.ImageFile, min_side: int | None) -> int:
    if min_side is None or not isinstance(image, JpegImageFile):
        return 1
    largest = min(image.size) // min_side
    return max(factor for factor in (1, *_JPEG_REDUCTIONS) if factor <= max(1, largest))


def open_file(file: Path | IO[bytes], formats: Sequence[str] = FORMATS) -> ImageFile.ImageFile:
    """Open an image of one of these formats with Pillow, without any limit; raises whatever Pillow raises."""
    if "HEIC" in formats:
        import models.decoding.heic  # noqa: F401 - registers the format with Pillow
    return Image.open(file, formats=tuple(formats))


@contextmanager
def _open(data: bytes, limits: Limits) -> Iterator[ImageFile.ImageFile]:
    """Open an image and check its header; convert Pillow's exceptions inside the block to ImageError."""
    if not data:
        raise errors.EmptyImage
    if len(data) > limits.max_bytes:
        raise errors.too_many_bytes(len(data), limits.max_bytes)
    kind = sniff(data)
    try:
        check_structure(data, kind)
        with open_file(BoundedReader(data), [kind]) as image:
            check_size(image.size, limits)
            check_decoding_work(image, data)
            yield image
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and more
        if _is_stripped(data):
            raise errors.stripped(kind) from error
        if isinstance(error, errors.ImageError):
            raise
        if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
            raise errors.too_many_pixels(limits.max_pixels) from error
        raise errors.damaged(kind) from error


def _is_stripped(data: bytes) -> bool:
    """Return whether an invalid file looks as if `curl -d` had sent it, which removes some bytes."""
    if any(byte in data for byte in _STRIPPED_BYTES):
        return False
    is_binary = len(data) >= _MIN_STRIPPED_LENGTH and _BINARY.search(data) is not None
    return is_binary or data.startswith(_STRIPPED_PNG)


def _scale_transparent_level(image: ImageFile.ImageFile) -> None:
    """Scale a PNG's transparent grey level to 8 bits: Pillow scales 2- and 4-bit pixels, but not this level."""
    level = image.info.get("transparency")
    if image.format == "PNG" and isinstance(level, int) and image.tile[0].args in _GREY_LEVEL_FACTORS:
        image.info["transparency"] = level * _GREY_LEVEL_FACTORS[image.tile[0].args]


def _apply_orientation(image: Image.Image) -> Image.Image:
    if image.format == "HEIC":  # it has properties of its own for this, which EXIF only repeats
        return image
    if any(len(image.info.get(name, "")) > MAX_EXIF_BYTES for name in _EXIF_KEYS):
        return image
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION)
    except Exception:  # a damaged EXIF block is ignored: the pixels are still valid
        return image
    if orientation not in _TRANSPOSE_BY_ORIENTATION:
        return image
    return image.transpose(_TRANSPOSE_BY_ORIENTATION[orientation])


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return _from_16_bit(image)
    if image.mode in ("I", "F"):
        raise errors.undefined_white()
    if image.has_transparency_data:
        return _composite_on_white(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _composite_on_white(image: Image.Image) -> Image.Image:
    """Composite in strips: a second full RGBA copy of a large image would set the peak memory of a decode worker."""
    flat, rows = Image.new("RGB", image.size, "white"), max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height))).convert("RGBA")
        flat.paste(strip, (0, top), strip)
    return flat


def _from_16_bit(image: Image.Image) -> Image.Image:
    levels = [(level + 128) // 257 for level in range(1 << 16)]
    if isinstance(image, TiffImageFile) and image.tag_v2.get(PHOTOMETRIC_INTERPRETATION) == _WHITE_IS_ZERO:
        levels.reverse()  # Pillow inverts only 8-bit images
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        levels[transparent] = 255
    return image.convert("I").point(levels, "L").convert("RGB")
