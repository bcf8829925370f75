"""Errors of rejected images, and the messages that clients get.

Steps of an image, and the error of each step::

    bytes ──sniff──▶ format ──open──▶ size ──decode──▶ RGB
      │                │               │                │
      EmptyImage       Unsupported     ImageTooLarge    UndecodableImage
                       Image

Each message says what is wrong and what to do.
"""

from __future__ import annotations

from collections.abc import Sequence

from models.errors import ModelsError

_SCALE_DOWN = "Scale the image down."


class ImageError(ModelsError):
    """The image is rejected."""

    code = "bad_image"


class EmptyImage(ImageError):
    """The image has zero bytes."""

    code = "empty_image"

    def __init__(self, message: str = "The image is empty (0 bytes). Send the bytes of an image file.") -> None:
        super().__init__(message)


class UnsupportedImage(ImageError):
    """The first bytes match no supported format."""

    code = "unsupported_format"


class ImageTooLarge(ImageError):
    """The image exceeds the limit of bytes, pixels or side length."""

    code = "image_too_large"


class UndecodableImage(ImageError):
    """The format is supported, but the file is damaged or too expensive to decode."""

    code = "undecodable_image"


def unknown_format(formats: Sequence[str]) -> UnsupportedImage:
    """Return the error of a file whose first bytes match no format."""
    return UnsupportedImage(f"This is not an image of a supported format. Send one of: {', '.join(formats)}.")


def unknown_iso_media(formats: Sequence[str]) -> UnsupportedImage:
    """Return the error of an ISO media container without the brand of a supported image."""
    return UnsupportedImage(f"This is a video or an unknown image format. Send one of: {', '.join(formats)}.")


def too_many_bytes(size: int, max_bytes: int) -> ImageTooLarge:
    """Return the error of a file with too many bytes."""
    return ImageTooLarge(f"The image has {size:,} bytes; the limit is {max_bytes:,} bytes. Send a smaller file.")


def too_many_pixels(max_pixels: int, size: tuple[int, int] | None = None) -> ImageTooLarge:
    """Return the error of an image with too many pixels; `size` is (width, height), if it is known."""
    if size is None:
        return ImageTooLarge(f"The image has more pixels than the limit of {max_pixels:,}. {_SCALE_DOWN}")
    width, height = size
    return ImageTooLarge(
        f"The image has {width} x {height} = {width * height:,} pixels; the limit is {max_pixels:,} pixels. "
        f"{_SCALE_DOWN}"
    )


def too_long_side(size: tuple[int, int], max_side: int) -> ImageTooLarge:
    """Return the error of an image whose longer side, in pixels, exceeds the limit."""
    return ImageTooLarge(
        f"The image is {size[0]} x {size[1]}; the limit for a side is {max_side:,} pixels. {_SCALE_DOWN}"
    )


def damaged(kind: str) -> UndecodableImage:
    """Return the error of a file that Pillow cannot decode."""
    return UndecodableImage(
        f"This {kind} image cannot be decoded; the file may be truncated or damaged. Save it again and retry."
    )


def stripped(kind: str | None) -> ImageError:
    """Return the error of an image of this format, or of an unknown one, without the bytes that `curl -d` removes."""
    error = UndecodableImage if kind else UnsupportedImage
    return error(
        "This file has lost its zero bytes and line breaks, which curl -d removes. Send it with --data-binary instead."
    )


def undefined_white() -> UndecodableImage:
    """Return the error of 32 bits per sample, for which formats define no white level."""
    return UndecodableImage(
        "This image has 32 bits per sample, whose white level is undefined. Save it with 8 or 16 bits."
    )


def deep_grey() -> UndecodableImage:
    """Return the error of a grey HEIC image of more than 8 bits per sample."""
    return UndecodableImage("Grey HEIC images of more than 8 bits per sample are not supported. Save it with 8 bits.")


def too_expensive(reason: str) -> UndecodableImage:
    """Return the error of a file whose structure shows, before decoding, that decoding is too expensive."""
    return UndecodableImage(f"This image has {reason}; decoding it would take too long. Save it again.")


def decoding_aborted() -> UndecodableImage:
    """Return the error of an image that made a decode worker exceed its time or memory, or crash."""
    return UndecodableImage(
        "Decoding this image takes too long or too much memory, or crashes the decoder. Save it again, smaller."
    )
