"""Rules that a schema cannot express: valid image bytes, and parameters that exclude each other."""

from __future__ import annotations

import base64
from typing import Any

import schemathesis
from hypothesis import strategies

from tests.support.colour_images import COLOURS
from tests.support.encoded_images import encoded

IMAGES = strategies.sampled_from([encoded(colour, kind) for colour in COLOURS for kind in ("PNG", "JPEG", "WEBP")])

schemathesis.openapi.format("binary", IMAGES)
schemathesis.openapi.format("byte", IMAGES.map(lambda image: base64.b64encode(image).decode()))
schemathesis.openapi.media_type("image/*", IMAGES)


@schemathesis.hook
def filter_case(context: schemathesis.HookContext, case: schemathesis.Case[Any]) -> bool:
    """Drop cases that the server rejects: `version` together with several models or with `NAME@VERSION`."""
    query = case.query or {}
    return "version" not in query or not {"@", ","} & set(str(query.get("model", "")))
