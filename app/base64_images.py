"""Decode images in base64, as JSON and some forms carry them: plain, broken into lines, or as a data URI."""

from __future__ import annotations

import base64
import binascii

from app.errors import MalformedBody

_WHITESPACE = b" \t\r\n\f\v"


def decode_base64(text: str) -> bytes:
    """Decode base64 (RFC 4648) or a base64 data URI (RFC 2397); raises MalformedBody."""
    header, comma, payload = text.partition(",") if text[:5].lower() == "data:" else ("", ",", text)
    if not comma or (header and not header.lower().endswith(";base64")):
        raise MalformedBody("The data URI is malformed. Send data:image/jpeg;base64,...")
    try:
        return base64.b64decode(payload.encode("ascii").translate(None, _WHITESPACE), validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedBody("The image is not valid base64. Send the image itself; URLs are not fetched.") from error
