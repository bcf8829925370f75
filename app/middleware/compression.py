"""Compress responses with gzip for clients that accept it."""

from __future__ import annotations

from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from app.asgi import qualities, request_header

_MIN_BYTES = 2000  # smaller bodies fit into two packets anyway
_LEVEL = 4  # about twice as fast as zlib's default, for bodies that are a tenth larger
_MIN_BYTES_IN_THREAD = 32 * 1024  # compressing more would block the event loop for over a millisecond
_NOT_COMPRESSIBLE = ("application/octet-stream", "application/x-npy")  # float32 values


class CompressionMiddleware(GZipMiddleware):
    """Starlette's gzip middleware, which also respects a quality of 0 (RFC 9110, 12.5.3)."""

    def __init__(self, app: ASGIApp) -> None:
        """Compress the responses of `app`."""
        super().__init__(
            app,
            minimum_size=_MIN_BYTES,
            compresslevel=_LEVEL,
            thread_minimum_size=_MIN_BYTES_IN_THREAD,
            exclude_content_types=(*DEFAULT_EXCLUDED_CONTENT_TYPES, *_NOT_COMPRESSIBLE),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        accepts_gzip = scope["type"] == "http" and qualities(request_header(scope, b"accept-encoding")).get("gzip")
        await (super().__call__ if accepts_gzip else self.app)(scope, receive, send)
