"""Cross-origin requests: pages of other origins may read responses only if APP_CORS_ORIGINS names them."""

from __future__ import annotations

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from app.oip.messages import HEADER_LENGTH
from app.settings import Settings

REQUEST_HEADERS = (
    "Authorization",
    "Content-Encoding",
    "Content-Type",
    HEADER_LENGTH,
    "traceparent",
    "X-API-Key",
    "X-Request-ID",
    "X-Request-Timeout-Ms",
)
"""Request headers of the documents that a page may send beyond those that it always may."""
RESPONSE_HEADERS = (
    HEADER_LENGTH,
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "Server-Timing",
    "X-Request-ID",
)
"""Response headers of the documents that a page may read."""


class CorsMiddleware(CORSMiddleware):
    """Starlette's CORS middleware with this service's methods and headers."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        """Allow the origins that the settings name."""
        super().__init__(
            app,
            allow_origins=settings.cors_origins.split(),
            allow_methods=["GET", "POST", "PUT"],
            allow_headers=REQUEST_HEADERS,
            expose_headers=RESPONSE_HEADERS,
        )
