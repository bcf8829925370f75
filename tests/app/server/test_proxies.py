"""Rejections of uploads arrive through nginx and Caddy with default settings, not as their own 502 or as a reset."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.support.encoded_images import encoded
from tests.support.processes import post
from tests.support.proxies import PROXIES, is_installed
from tests.support.rejections import MAX_BODY_BYTES, REJECTIONS, Rejection, rejecting_servers, upload

MEGABYTE = 1_000_000
SIZES = (1, 3, 10, 30, 60)
TRIES = 200


@pytest.fixture(scope="module")
def upstreams(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    with rejecting_servers(tiny_store, tmp_path_factory.mktemp("keys"), APP_TRUSTED_PROXIES="127.0.0.1") as started:
        yield started


@pytest.fixture(scope="module", params=PROXIES)
def proxied(
    request: pytest.FixtureRequest, upstreams: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, str]]:
    if not is_installed(request.param):
        pytest.skip(f"{request.param} is not installed (apt-get install {request.param})")
    with PROXIES[request.param](tmp_path_factory.mktemp(request.param), upstreams) as addresses:
        yield addresses


def check_rejection(address: str, rejection: Rejection, size: int, *, is_form: bool) -> None:
    """Send an upload on a new connection and check the response.

    Caddy itself stops reading after a response, and then the client sees an error before it sees the response.
    """
    body = upload(size, is_form=is_form)
    with closing(http.client.HTTPConnection(address.removeprefix("http://"), timeout=60)) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.request("POST", rejection.path, body, {"Content-Type": rejection.media_type(is_form=is_form)})
        response = connection.getresponse()
        document = response.read()
    assert response.status == rejection.status, document[:200]
    assert response.headers["Content-Type"] == "application/problem+json"
    codes = (rejection.code, "image_too_large") if rejection.status == 413 else (rejection.code,)  # a form has room
    assert json.loads(document)["code"] in codes


@pytest.mark.parametrize("is_form", [False, True], ids=["raw", "form"])
@pytest.mark.parametrize("rejection", REJECTIONS, ids=lambda rejection: rejection.code)
def test_rejection_arrives_through_a_proxy(proxied: Mapping[str, str], rejection: Rejection, is_form: bool) -> None:
    for size in (1, 10):
        check_rejection(proxied[rejection.server], rejection, size * MEGABYTE, is_form=is_form)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("is_form", [False, True], ids=["raw", "form"])
@pytest.mark.parametrize("rejection", REJECTIONS, ids=lambda rejection: rejection.code)
def test_rejection_arrives_through_a_proxy_in_each_of_200_tries(
    proxied: Mapping[str, str], rejection: Rejection, is_form: bool
) -> None:
    for number in range(TRIES):
        size = SIZES[number % len(SIZES)] * MEGABYTE
        check_rejection(proxied[rejection.server], rejection, size, is_form=is_form)


def test_upload_is_classified_through_a_proxy(proxied: Mapping[str, str]) -> None:
    image = encoded("green", "PNG", (64, 48)) + bytes(MAX_BODY_BYTES // 2)
    for _ in range(20):
        answer = post(proxied["open"], image)
        assert (answer.status, answer.json["predictions"][0]["label"]) == (200, "green")
