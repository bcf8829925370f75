"""Responses to what is no valid HTTP request, written without an app."""

from __future__ import annotations

import http
import secrets

from app.api.problems import MEDIA_TYPE
from app.api.schemas import Problem
from app.middleware.request_context import SECURITY_HEADERS
from app.server.request_head import MAX_HEAD_BYTES

DETAILS = {
    http.HTTPStatus.BAD_REQUEST: ("bad_request", "Malformed HTTP request."),
    http.HTTPStatus.REQUEST_TIMEOUT: ("slow_head", "Timeout while waiting for the request head."),
    http.HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: (
        "head_too_large",
        f"Request line and headers, or trailers, exceed the limit of {MAX_HEAD_BYTES:,} bytes.",
    ),
}


def error_response(status: http.HTTPStatus, reason: str = "") -> bytes:
    """Return a whole HTTP response with a problem+json body; `reason` says more than the detail of the status."""
    code, detail = DETAILS[status]
    request_id = secrets.token_hex(16)
    problem = Problem(
        title=status.phrase,
        status=status,
        detail=f"{detail} {reason}".rstrip(),
        instance="/",
        code=code,
        request_id=request_id,
    )
    body = problem.model_dump_json().encode()
    headers = {
        **SECURITY_HEADERS,
        "X-Request-ID": request_id,
        "Content-Type": MEDIA_TYPE,
        "Content-Length": len(body),
        "Connection": "close",
    }
    lines = [f"HTTP/1.1 {status.value} {status.phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body
