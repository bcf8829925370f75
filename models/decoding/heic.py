"""HEIC, the format of iPhone photos, as a format of Pillow, decoded by libheif.

Import this module only where a HEIC image is opened: loading libheif takes 30 ms and 5 MB.
"""

from __future__ import annotations

from typing import Any

from pi_heif import HeifImageFile, options
from PIL import Image

from models.decoding import errors

options.DECODE_THREADS = 1  # a decode worker is one of several processes
options.THUMBNAILS = options.DEPTH_IMAGES = options.AUX_IMAGES = False  # only the photo itself is used

_MODES = ("L", "RGB", "RGBA", "RGBa")
"""Accepted modes. Grey images of more than 8 bits have another one: if their samples have fewer bits than the header
declares, pi-heif 1.4 writes beyond its memory while it scales them to 16 bits. No camera makes them."""


class HeicImageFile(HeifImageFile):  # type: ignore[misc]
    """The primary image of a file. libheif crops, rotates and mirrors it as its properties (clap, irot, imir) say."""

    format = "HEIC"
    _heif_file: Any

    def _open(self) -> None:
        super()._open()
        if not self.info["primary"]:  # the plugin then shows another image of the file
            raise errors.damaged(self.format)
        if self.mode not in _MODES:
            raise errors.deep_grey()

    def load(self) -> Any:
        if self._heif_file:
            photo, declared_size = self._heif_file[self.tell()], self.size
            photo.load()
            if photo.size != declared_size:  # the limits were checked with the declared size
                raise errors.damaged(self.format)
        access = super().load()
        self._heif_file = None  # with several images in a file, the plugin would keep a second copy of the pixels
        return access


def _accept(prefix: bytes) -> bool:
    return prefix[4:8] == b"ftyp"


Image.register_open(HeicImageFile.format, HeicImageFile, _accept)
