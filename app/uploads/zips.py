"""A zip of pictures -> the pictures, each within the limit, whatever the archive says of itself."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from io import BytesIO

from app.errors import MalformedBody, Overloaded

_CHUNK = 64 * 1024
_MOST_ENTRIES = 10_000
_ENTRY = b"PK\x01\x02"
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # zipfile unpacks the others without any bound
_CLUTTER = ("__MACOSX/", ".DS_Store", "Thumbs.db")


def extract_images(
    data: bytes, max_images: int, max_bytes: int, max_total_bytes: int, take: Callable[[int], object]
) -> list[tuple[str, bytes]]:
    """Unpack a zip in memory, as far as the limits and one step beyond, so that the caller sees that it went there.

    Args:
        data: the archive.
        max_images: files; folders and what file managers leave behind do not count.
        max_bytes: of one unpacked file.
        max_total_bytes: of all of them together.
        take: told of bytes as they are unpacked; may raise Overloaded.

    Returns:
        (name, bytes) in the archive's order: at most one file more, and one byte more, than the limits.

    Raises:
        BrokenBody: it is no zip, or a damaged or encrypted one.
        Overloaded: `take` raised it.
    """
    if data.count(_ENTRY) > _MOST_ENTRIES:  # an object would be made for each, wanted or not
        raise MalformedBody(f"The zip has more than {_MOST_ENTRIES:,} entries.")
    found: list[tuple[str, bytes]] = []
    left = max_total_bytes
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            for entry in [entry for entry in archive.infolist() if _is_picture(entry)][: max_images + 1]:
                unpacked = _unpacked(archive, entry, min(max_bytes, left) + 1, take)
                found.append((entry.filename, unpacked))
                left -= len(unpacked)
                if left < 0:
                    break
    except (MemoryError, Overloaded):
        raise
    except Exception as error:  # zipfile raises nearly anything on archives that were made to break it
        raise MalformedBody("The zip cannot be read; it is damaged, encrypted, or packed in an unusual way.") from error
    return found


def _unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int, take: Callable[[int], object]) -> bytes:
    if entry.compress_type not in _METHODS:
        raise zipfile.BadZipFile("packed in a way that is not read")
    parts, left = [], most
    with archive.open(entry) as file:
        while left and (part := file.read(min(left, _CHUNK))):
            take(len(part))
            parts.append(part)
            left -= len(part)
    return b"".join(parts)


def _is_picture(entry: zipfile.ZipInfo) -> bool:
    name = entry.filename
    return not (name.endswith("/") or name.startswith(_CLUTTER) or name.endswith(_CLUTTER))
