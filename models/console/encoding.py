r"""Text that leaves the programs, with names of files that are not valid UTF-8, or on terminals that are not UTF-8.

On Linux the name of a file is bytes, and Python reads bytes that are not UTF-8 as lone surrogates (PEP 383). Standard
output and standard error write these bytes as they are if they are UTF-8. Files and JSON must be valid, so that such a
byte is written as an escape: `caf\xe9.jpg`.
"""

from __future__ import annotations

import codecs
import io
import json
import re
import sys
from pathlib import PurePath
from typing import Any

BYTES_OR_ESCAPES = "bytes-or-escapes"
"""Codec error handler: it writes surrogate escapes as bytes to UTF-8, and everything else as backslash escapes."""

_SURROGATE_ESCAPES = range(0xDC80, 0xDD00)
_BACKSLASH_OF_ESCAPE = re.compile(r"\\(?=x[0-9a-fA-F]{2})")


def make_output_lossless() -> None:
    """Let standard output and standard error accept any text, whatever their encoding."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # None if the process was started without it
            stream.reconfigure(errors=BYTES_OR_ESCAPES)


def path_text(path: PurePath | str) -> str:
    r"""Return a path as valid Unicode: bytes that are not UTF-8 become escapes such as `\xe9`.

    Different paths have different texts: a backslash that would be read as the start of such an escape becomes `\x5c`.
    Apply it once.
    """
    return valid_text(_BACKSLASH_OF_ESCAPE.sub(r"\\x5c", str(path)))


def valid_text(text: str) -> str:
    r"""Return text with the same escapes for lone surrogates; valid text, with any backslashes, is unchanged."""
    return text if text.isascii() else text.encode("utf-8", BYTES_OR_ESCAPES).decode("utf-8", "backslashreplace")


def json_text(value: Any, encoding: str | None = "utf-8", indent: int | None = None) -> str:
    """Serialize to JSON: ASCII if the encoding of the output is not a Unicode one, or a string is not valid Unicode."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return text if text.isascii() or (is_unicode(encoding) and _is_valid(text)) else json.dumps(value, indent=indent)


def is_unicode(encoding: str | None) -> bool:
    """Return True for UTF-8 and the like, and for None, which text streams in memory have."""
    return encoding is None or codecs.lookup(encoding).name.startswith("utf")


def _is_valid(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _replace(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    if error.encoding == "utf-8":
        return b"".join(map(_to_bytes, characters)), error.end
    return "".join(map(_escape, characters)), error.end


def _to_bytes(surrogate: str) -> bytes:
    code = ord(surrogate)
    return bytes([code - 0xDC00]) if code in _SURROGATE_ESCAPES else _escape(surrogate).encode()


def _escape(character: str) -> str:
    code = ord(character)
    if code in _SURROGATE_ESCAPES:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


codecs.register_error(BYTES_OR_ESCAPES, _replace)
