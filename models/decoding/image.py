"""Encoded image -> upright uint8 RGB.

The only place, together with `preprocess`, that touches pixels, in training and in serving. What is
allowed is decided from the first bytes and from the header, before anything is decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from PIL import Image, ImageFile, features
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import PHOTOMETRIC_INTERPRETATION, TiffImageFile

from models.decoding.limits import MAX_EXIF_BYTES, BoundedReader, check_structure, check_work
from models.errors import EmptyImage, ImageError, ImageTooLarge, UndecodableImage, UnsupportedImage

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
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}

FORMATS = ("JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF") + (("AVIF",) if features.check("avif") else ())

_EXIF_ORIENTATION = 0x0112
_EXIF = ("exif", "Raw profile type exif")
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_WHITE_IS_ZERO = 0
_STRIP_PIXELS = 1_000_000
_WIDENED = {"L;2": 85, "L;4": 17}


@dataclass(frozen=True)
class Limits:
    """What an image may cost: encoded bytes, pixels, and the longer side in pixels."""

    max_bytes: int = 20_000_000
    max_pixels: int = 50_000_000
    max_side: int = 30_000


DEFAULT_LIMITS = Limits()


def sniff(data: bytes) -> str:
    """Name Pillow's format for the first bytes of `data`.

    Raises:
        UnsupportedImage: no allowed format begins like this.
    """
    for magic, name in _MAGIC:
        if data.startswith(magic):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp":
        return _sniff_iso_media(data)
    raise UnsupportedImage(f"This is not an image of a kind we read. Send one of: {', '.join(FORMATS)}.")


def _sniff_iso_media(data: bytes) -> str:
    """AVIF and HEIC share a container; its brands tell them apart (ISO/IEC 14496-12, 4.3)."""
    box = data[: min(int.from_bytes(data[:4]), 256)]
    brands = {box[8:12]} | {box[i : i + 4] for i in range(16, len(box), 4)}
    if brands & _AVIF_BRANDS and "AVIF" in FORMATS:
        return "AVIF"
    if brands & _HEIC_BRANDS:
        raise UnsupportedImage("HEIC images are not read here. Save the photo as JPEG and send that.")
    raise UnsupportedImage(f"This is a video or an unknown kind of image. Send one of: {', '.join(FORMATS)}.")


def decode(
    data: bytes,
    limits: Limits = DEFAULT_LIMITS,
    needed_side: int | None = None,
    before: Callable[[int], object] | None = None,
) -> Image.Image:
    """Decode an image to upright RGB: transparency on white, first frame, 8 bits a channel.

    Args:
        data: the encoded file.
        limits: checked on the bytes and on the header, before pixels are decoded.
        needed_side: if given, a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size (DCT scaling), as
            long as both sides stay at least this many pixels.
        before: called with width times height when the header has been checked and nothing is decoded yet.

    Returns:
        image of mode RGB, as Pillow holds it: arrays of large pictures cost as much as half of their decoding.

    Raises:
        EmptyImage, UnsupportedImage, ImageTooLarge, UndecodableImage: and no other error, whatever
            Pillow raises on broken data.
    """
    with _open(data, limits) as image:
        if before:
            before(image.width * image.height)
        if isinstance(image, JpegImageFile) and needed_side is not None:
            image.draft(None, (needed_side, needed_side))
        _widen_transparent_level(image)
        image.load()
        return _to_rgb(_upright(image))


def header_size(data: bytes, limits: Limits = DEFAULT_LIMITS) -> tuple[int, int]:
    """(width, height) as an image's header says, checked as `decoded` does; raises the same, and decodes nothing."""
    with _open(data, limits) as image:
        return image.size


@contextmanager
def _open(data: bytes, limits: Limits) -> Iterator[ImageFile.ImageFile]:
    """An image whose header was read and checked; what Pillow raises meanwhile becomes an ImageError."""
    if not data:
        raise EmptyImage("The image is empty (0 bytes). Send the bytes of an image file.")
    if len(data) > limits.max_bytes:
        raise ImageTooLarge(f"The image has {len(data):,} bytes; the limit is {limits.max_bytes:,} bytes.")
    kind = sniff(data)
    try:
        check_structure(data, kind)
        with Image.open(BoundedReader(data), formats=[kind]) as image:
            check_size(image.size, limits)
            check_work(image, data)
            yield image
    except (ImageError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooLarge(f"The image has more pixels than the limit of {limits.max_pixels:,}.") from error
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and more
        raise UndecodableImage(
            f"This {kind} image cannot be decoded; the file may be cut short or damaged. Save it again and retry."
        ) from error


def check_size(size: tuple[int, int], limits: Limits) -> None:
    """Raise ImageTooLarge for a (width, height) beyond the limits."""
    width, height = size
    if width * height > limits.max_pixels:
        raise ImageTooLarge(
            f"The image has {width} x {height} = {width * height:,} pixels; the limit is {limits.max_pixels:,} pixels."
        )
    if max(size) > limits.max_side:
        raise ImageTooLarge(f"The image is {width} x {height}; the limit for a side is {limits.max_side:,} pixels.")


def _widen_transparent_level(image: ImageFile.ImageFile) -> None:
    """Pillow widens grey of 2 and 4 bits to 8, but not the level that stands for transparent in a PNG."""
    level = image.info.get("transparency")
    if image.format == "PNG" and isinstance(level, int) and image.tile[0].args in _WIDENED:
        image.info["transparency"] = level * _WIDENED[image.tile[0].args]


def _upright(image: Image.Image) -> Image.Image:
    if any(len(image.info.get(name, "")) > MAX_EXIF_BYTES for name in _EXIF):
        return image
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION)
    except Exception:  # a damaged EXIF block says nothing about the pixels
        return image
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return _from_16_bit(image)
    if image.mode in ("I", "F"):
        raise UndecodableImage("This image has 32 bits a sample, which has no agreed white. Save it with 8 or 16 bits.")
    if image.has_transparency_data:
        return _on_white(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    """In strips: a second whole copy of a large picture would be the most memory that any needs."""
    flat, rows = Image.new("RGB", image.size, "white"), max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height))).convert("RGBA")
        flat.paste(strip, (0, top), strip)
    return flat


def _from_16_bit(image: Image.Image) -> Image.Image:
    levels = [(level + 128) // 257 for level in range(1 << 16)]
    if isinstance(image, TiffImageFile) and image.tag_v2.get(PHOTOMETRIC_INTERPRETATION) == _WHITE_IS_ZERO:
        levels.reverse()  # Pillow does it for 8 bits only
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        levels[transparent] = 255
    return image.convert("I").point(levels, "L").convert("RGB")
