"""Names of files and archive entries: metadata of file managers, and the encoding of names in zips."""

from __future__ import annotations

import re
import zipfile
from contextlib import suppress
from pathlib import PurePath

_METADATA = frozenset({"__macosx", "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini"})
_METADATA_PART = re.compile(rf"(?:^|/)(?:\.(?!/|\Z)|(?:{'|'.join(map(re.escape, sorted(_METADATA)))})(?:/|\Z))")
_UTF8_FLAG = 0x800  # APPNOTE.TXT 6.3.10, 4.4.4, bit 11


def is_metadata(name: str) -> bool:
    """Return True for the name of a file or folder that is hidden or was made by a file manager, such as Thumbs.db."""
    return name.startswith(".") or name.lower() in _METADATA


def has_metadata(path: PurePath) -> bool:
    """Return True if any part of a relative path is metadata."""
    return any(map(is_metadata, path.parts))


def has_metadata_part(path: str) -> bool:
    """Return the same for a path with slashes, in time that grows little with the number of its parts."""
    return _METADATA_PART.search(path.lower()) is not None


def zip_entry_name(entry: zipfile.ZipInfo) -> str:
    """Return the name of a zip entry, with slashes between its parts.

    macOS writes UTF-8 without setting the flag for it, so any valid UTF-8 is read as such, other names as cp437. Some
    Windows programs write backslashes.
    """
    name = entry.orig_filename
    if not entry.flag_bits & _UTF8_FLAG:
        with suppress(UnicodeError):  # then it is cp437
            name = name.encode("cp437").decode()
    return name.partition("\0")[0].replace("\\", "/")
