"""Extract images from a zip in memory, within limits that do not rely on what the archive declares."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from itertools import islice

from app.errors import MalformedBody, Overloaded
from models.file_names import has_metadata_part, zip_entry_name
from models.zip_directory import BadZipDirectory, DirectoryBudget, ZipDirectoryTooLarge, check_directory

_CHUNK_BYTES = 64 * 1024
_ENTRIES_PER_IMAGE = 4
_MIN_MAX_ENTRIES = 2_000  # which zipfile parses in 15 ms, or 35 ms with the worst metadata
_BYTES_PER_ENTRY = 150
_MAX_EXPANSION = 1.01  # of data that deflate cannot compress (RFC 1951, 3.2.4)
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # zipfile decompresses the others without a bound


def check_directories(zips: Iterable[bytes], max_images: int) -> None:
    """Check the directories of all zips of a request, before any is parsed.

    Args:
        zips: the archives.
        max_images: number of images that the request may have. There may be several entries for each, since folders and
            file managers' metadata have entries too.

    Raises:
        MalformedBody: a file is not a zip, its directory is damaged, or all directories together are too large.
    """
    max_entries = max(_MIN_MAX_ENTRIES, _ENTRIES_PER_IMAGE * max_images)
    budget = DirectoryBudget(max_entries, _BYTES_PER_ENTRY * max_entries)
    try:
        for data in zips:
            check_directory(BytesIO(data), budget)
    except ZipDirectoryTooLarge as error:
        raise MalformedBody(
            f"The zips of a request may have {max_entries:,} entries in total, with {_BYTES_PER_ENTRY} bytes each "
            "on average for their names and other metadata. Send fewer files, or several requests."
        ) from error
    except BadZipDirectory as error:
        raise MalformedBody(f"The zip is damaged, or it is not a zip: {error}.") from error


def extract_images(
    data: bytes,
    max_images: int,
    max_bytes: int,
    max_total_bytes: int,
    on_bytes: Callable[[int], object],
) -> Iterator[tuple[str, bytes | MalformedBody]]:
    """Extract the images of a zip; stop one file or one byte beyond a limit, so that the caller can detect the excess.

    Args:
        data: the archive, whose directory has been checked.
        max_images: number of files; folders and file managers' metadata (such as .DS_Store) do not count.
        max_bytes: size of one extracted file.
        max_total_bytes: size of all extracted files.
        on_bytes: called with the number of bytes of each extracted chunk; may raise Overloaded.

    Yields:
        Name and bytes of each file, or its error if it is damaged, in the archive's order.

    Raises:
        MalformedBody: the archive is damaged.
        Overloaded: `on_bytes` raised it.
    """
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            entries = list(islice(_files(archive), max_images + 1))
            if sum(entry.compress_size for _, entry in entries) > len(data):
                raise MalformedBody("Files of the zip overlap.")
            yield from _extract_all(archive, entries, max_bytes, max_total_bytes, on_bytes)
    except (MemoryError, Overloaded, MalformedBody):
        raise
    except Exception as error:  # zipfile raises nearly any exception on crafted archives
        raise MalformedBody("The zip is damaged, or it is not a zip.") from error


def _files(archive: zipfile.ZipFile) -> Iterator[tuple[str, zipfile.ZipInfo]]:
    for entry in archive.infolist():
        name = zip_entry_name(entry)
        if not name.endswith("/") and not has_metadata_part(name):
            yield name, entry


def _extract_all(
    archive: zipfile.ZipFile,
    entries: list[tuple[str, zipfile.ZipInfo]],
    max_bytes: int,
    max_total_bytes: int,
    on_bytes: Callable[[int], object],
) -> Iterator[tuple[str, bytes | MalformedBody]]:
    bytes_left = max_total_bytes

    def count(size: int) -> None:
        nonlocal bytes_left
        bytes_left -= size
        on_bytes(size)

    for name, entry in entries:
        try:
            yield name, _extract(archive, entry, min(max_bytes, bytes_left) + 1, count)
        except (MemoryError, Overloaded):
            raise
        except Exception:  # only this entry is damaged, encrypted or compressed by another method
            yield (
                name,
                MalformedBody(
                    "This file of the zip is damaged, encrypted or not packed by the usual method (deflate)."
                ),
            )
        if bytes_left < 0:
            return


def _extract(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, max_bytes: int, on_bytes: Callable[[int], object]
) -> bytes:
    if entry.compress_type not in _METHODS:
        raise zipfile.BadZipFile("unsupported compression method")
    if entry.compress_size > entry.file_size * _MAX_EXPANSION + _CHUNK_BYTES:
        raise zipfile.BadZipFile("packed data that unpacks to less")  # empty blocks of deflate only take time
    chunks, bytes_left = [], max_bytes
    with archive.open(entry) as file:
        while bytes_left and (chunk := file.read(min(bytes_left, _CHUNK_BYTES))):
            on_bytes(len(chunk))
            chunks.append(chunk)
            bytes_left -= len(chunk)
    return b"".join(chunks)
