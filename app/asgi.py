"""Read values from an ASGI scope without building a request object."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]


def request_header(scope: Scope, name: bytes) -> str | None:
    """Return the first value of a request header, or None; `name` is lower case."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), None)


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
