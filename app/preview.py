"""An uploaded picture as a small one that any browser shows."""

from __future__ import annotations

import base64
from io import BytesIO

from app.decoders import Before
from models.apart import Apart, is_for_apart
from models.image import Limits, decoded

_SIDE = 480


def data_uri(data: bytes, limits: Limits, apart: Apart, before: Before) -> str:
    """Encoded image of any allowed format -> data URI of an upright JPEG of at most 480 px a side.

    Raises:
        ImageError: the image cannot be taken; and what `before` raises.
    """
    if is_for_apart(data):
        picture = apart.thumbnail(data, _SIDE, limits, before)
    else:
        picture = decoded(data, limits, _SIDE, before)
        picture.thumbnail((_SIDE, _SIDE))
    buffer = BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
