"""Read values from an ASGI scope without building a request object."""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]

_QUALITY = re.compile(r";[ \t]*q[ \t]*=([^;]*)")
_MAX_CHOICES = 20  # of one header; browsers send fewer than ten


def request_header(scope: Scope, name: bytes) -> str | None:
    """Return the first value of a request header without whitespace around it, or None; `name` is lower case."""
    return next((value.decode("latin-1").strip(" \t") for key, value in scope["headers"] if key == name), None)


def qualities(header: str | None) -> dict[str, float]:
    """Return the choices of an Accept or Accept-Encoding header with their quality, from 0 to 1 (RFC 9110, 12.4.2).

    Names are lower case. The quality is 1 if it is missing, and 0 if it is not a number.
    """
    choices: dict[str, float] = {}
    for choice in (header or "").lower().split(",", _MAX_CHOICES)[:_MAX_CHOICES]:
        quality = _QUALITY.search(choice)
        try:
            choices.setdefault(choice.partition(";")[0].strip(), float(quality[1]) if quality else 1.0)
        except ValueError:
            choices.setdefault(choice.partition(";")[0].strip(), 0.0)
    return choices


def client_address(scope: Scope) -> str | None:
    """Return the IP address of the client, or None where the server does not know it."""
    client = scope.get("client")
    return client[0] if client else None


def path_without_prefix(scope: Scope) -> str:
    """Return the request path without the prefix that a proxy added.

    A mount appends its own path to `root_path` and keeps the proxy's prefix as `app_root_path`.
    """
    path: str = scope["path"]
    return path.removeprefix(scope.get("app_root_path", scope.get("root_path", "")))
