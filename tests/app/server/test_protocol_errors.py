"""Malformed requests: how they are logged, and the response that no app writes."""

from __future__ import annotations

import json
import time
from http import HTTPStatus

import pytest
from structlog.testing import capture_logs

from app.middleware.request_context import SECURITY_HEADERS
from app.server.error_response import error_response
from app.server.protocol_errors import ProtocolErrorLog
from tests.support.clocks import Clock


def test_one_malformed_request_in_ten_seconds_is_logged_with_the_number_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, errors = Clock(1000), ProtocolErrorLog()
    monkeypatch.setattr(time, "monotonic", clock)
    with capture_logs() as logged:
        for seconds in (0, 0, 9.9, 10, 19.9, 20, 100):
            clock.now = 1000 + seconds
            errors.log(HTTPStatus.BAD_REQUEST, f"after {seconds} s")
    assert [(entry["reason"], entry["more_since_last"]) for entry in logged] == [
        ("after 0 s", 0),
        ("after 10 s", 2),
        ("after 20 s", 1),
        ("after 100 s", 0),
    ]
    assert {(entry["log_level"], entry["status"]) for entry in logged} == {("warning", 400)}


@pytest.mark.parametrize(
    ("status", "reason", "code", "detail"),
    [
        (400, "", "bad_request", "Malformed HTTP request."),
        (400, "The Host header is missing.", "bad_request", "Malformed HTTP request. The Host header is missing."),
        (408, "", "slow_head", "Timeout while waiting for the request head."),
        (
            431,
            "",
            "head_too_large",
            "Request line and headers, or trailers, exceed the limit of 16,384 bytes.",
        ),
    ],
)
def test_response_without_an_app_is_a_problem_like_any_other(status: int, reason: str, code: str, detail: str) -> None:
    head, _, body = error_response(HTTPStatus(status), reason).partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    problem = json.loads(body)
    request_id = problem.pop("request_id")
    assert first == f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"
    assert len(request_id) == 32
    assert headers == {
        **SECURITY_HEADERS,
        "X-Request-ID": request_id,
        "Content-Type": "application/problem+json",
        "Content-Length": str(len(body)),
        "Connection": "close",
    }
    assert problem == {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": "/",
        "code": code,
    }
