"""What a schema cannot say: which bytes are a picture, and which parameters exclude each other."""

from __future__ import annotations

import base64
from typing import Any

import schemathesis
from hypothesis import strategies

from tests.support.colour_images import COLOURS
from tests.support.encoded_images import encoded

PICTURES = strategies.sampled_from([encoded(colour, kind) for colour in COLOURS for kind in ("PNG", "JPEG", "WEBP")])

schemathesis.openapi.format("binary", PICTURES)
schemathesis.openapi.format("byte", PICTURES.map(lambda picture: base64.b64encode(picture).decode()))
schemathesis.openapi.media_type("image/*", PICTURES)


@schemathesis.hook
def filter_case(context: schemathesis.HookContext, case: schemathesis.Case[Any]) -> bool:
    """`version` is of the one model that is named: beside several, or beside `NAME@VERSION`, it is refused."""
    query = case.query or {}
    return "version" not in query or not {"@", ","} & set(str(query.get("model", "")))
