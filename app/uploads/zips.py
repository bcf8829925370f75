"""Extract images from a zip in memory, within limits that do not rely on what the archive declares."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from io import BytesIO

from app.errors import MalformedBody, Overloaded

_CHUNK_BYTES = 64 * 1024
_MAX_ENTRIES = 10_000
_DIRECTORY_ENTRY = b"PK\x01\x02"
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # zipfile decompresses the others without a bound
_CLUTTER = ("__MACOSX/", ".DS_Store", "Thumbs.db")


def extract_images(
    data: bytes, max_images: int, max_bytes: int, max_total_bytes: int, on_bytes: Callable[[int], object]
) -> list[tuple[str, bytes]]:
    """Extract the images of a zip; stop one file or one byte beyond a limit, so that the caller can detect the excess.

    Args:
        data: the archive.
        max_images: number of files; folders and file managers' metadata (such as .DS_Store) do not count.
        max_bytes: size of one extracted file.
        max_total_bytes: size of all extracted files.
        on_bytes: called with the number of bytes of each extracted chunk; may raise Overloaded.

    Returns:
        (name, bytes) of each file, in the archive's order.

    Raises:
        MalformedBody: the archive is damaged, encrypted or not a zip.
        Overloaded: `on_bytes` raised it.
    """
    if data.count(_DIRECTORY_ENTRY) > _MAX_ENTRIES:  # zipfile creates an object for every entry
        raise MalformedBody(f"The zip has more than {_MAX_ENTRIES:,} entries.")
    images: list[tuple[str, bytes]] = []
    bytes_left = max_total_bytes
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            for entry in [entry for entry in archive.infolist() if _is_image(entry)][: max_images + 1]:
                content = _extract(archive, entry, min(max_bytes, bytes_left) + 1, on_bytes)
                images.append((entry.filename, content))
                bytes_left -= len(content)
                if bytes_left < 0:
                    break
    except (MemoryError, Overloaded):
        raise
    except Exception as error:  # zipfile raises nearly any exception on crafted archives
        raise MalformedBody("The zip is damaged, encrypted or uses an unsupported compression method.") from error
    return images


def _extract(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, max_bytes: int, on_bytes: Callable[[int], object]
) -> bytes:
    if entry.compress_type not in _METHODS:
        raise zipfile.BadZipFile("unsupported compression method")
    chunks, bytes_left = [], max_bytes
    with archive.open(entry) as file:
        while bytes_left and (chunk := file.read(min(bytes_left, _CHUNK_BYTES))):
            on_bytes(len(chunk))
            chunks.append(chunk)
            bytes_left -= len(chunk)
    return b"".join(chunks)


def _is_image(entry: zipfile.ZipInfo) -> bool:
    name = entry.filename
    return not (name.endswith("/") or name.startswith(_CLUTTER) or name.endswith(_CLUTTER))
