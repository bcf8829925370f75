"""A zip of pictures -> the pictures, each within the limit, whatever the archive says of itself."""

from __future__ import annotations

import zipfile
import zlib
from io import BytesIO

from app.errors import BrokenBody

_CHUNK = 64 * 1024
_CLUTTER = ("__MACOSX/", ".DS_Store", "Thumbs.db")


def pictures(data: bytes, max_images: int, max_bytes: int, max_total_bytes: int) -> list[tuple[str, bytes]]:
    """Unpack a zip in memory, as far as the limits and one step beyond, so that the caller sees that it went there.

    Args:
        data: the archive.
        max_images: files; folders and what file managers leave behind do not count.
        max_bytes: of one unpacked file.
        max_total_bytes: of all of them together.

    Returns:
        (name, bytes) in the archive's order: at most one file more, and one byte more, than the limits.

    Raises:
        BrokenBody: it is no zip, or a damaged or encrypted one.
    """
    found: list[tuple[str, bytes]] = []
    left = max_total_bytes
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir() and not _is_clutter(entry.filename)]
            for entry in entries[: max_images + 1]:
                unpacked = _unpacked(archive, entry, min(max_bytes, left) + 1)
                found.append((entry.filename, unpacked))
                left -= len(unpacked)
                if left < 0:
                    break
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError) as error:
        raise BrokenBody("The zip cannot be read; it is damaged, encrypted, or packed in an unusual way.") from error
    return found


def _unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> bytes:
    parts, left = [], most
    with archive.open(entry) as file:
        while left and (part := file.read(min(left, _CHUNK))):
            parts.append(part)
            left -= len(part)
    return b"".join(parts)


def _is_clutter(name: str) -> bool:
    return name.startswith(_CLUTTER) or name.endswith(_CLUTTER)
