"""An uploaded picture as a small one that any browser shows."""

from __future__ import annotations

import base64

from app.decoding.decoder import ImageDecoder
from app.errors import Overloaded
from models.decoding.image import Limits

_SIDE = 480


async def data_uri(image: bytes, limits: Limits, decoders: ImageDecoder) -> str | None:
    """Encoded image of any allowed format -> data URI of an upright JPEG of at most 480 px a side.

    None where the picture is large and others are before it. Raises ImageError.
    """
    try:
        jpeg = await decoders.thumbnail(image, _SIDE, limits)
    except Overloaded:
        return None
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
