"""Proxies that the environment sets: when they are used, and what errors say about them."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from models.errors import ServerError
from models.offline import client
from models.offline.proxies import environment_proxy, is_loopback
from models.offline.results import Prediction
from tests.support.http_servers import Request, Response, http_server, json_response
from tests.support.processes import free_port

RESULT = json_response(200, {"predictions": [{"label": "blue", "index": 0, "score": 0.9}]})
SERVER = "http://vision.example:8000"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        for variable in (name, name.upper()):
            monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    (tmp_path / "a.jpg").write_bytes(b"image")
    return tmp_path / "a.jpg"


def classify(url: str, image: Path) -> list[Prediction]:
    (result,) = client.classify(url, {"a": image}, "colours", 1, lambda name, reason: pytest.fail(reason))
    return result[1].predictions


def error_of(url: str, image: Path) -> str:
    with pytest.raises(ServerError) as raised:
        classify(url, image)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def used(url: str) -> tuple[str, str] | None:
    proxy = environment_proxy(httpx.URL(url))
    return None if proxy is None else (str(proxy.url), proxy.variable)


# --- which proxy


@pytest.mark.parametrize(
    ("variables", "url", "expected"),
    [
        ({}, SERVER, None),
        ({"http_proxy": "http://p:1"}, SERVER, ("http://p:1", "http_proxy")),
        ({"HTTP_PROXY": "p:1"}, SERVER, ("http://p:1", "HTTP_PROXY")),
        ({"http_proxy": "p:1", "HTTP_PROXY": "q:2"}, SERVER, ("http://p:1", "http_proxy")),
        ({"http_proxy": "", "HTTP_PROXY": "q:2"}, SERVER, None),
        ({"https_proxy": "p:1"}, SERVER, None),
        ({"https_proxy": "p:1"}, "https://vision.example", ("http://p:1", "https_proxy")),
        ({"ALL_PROXY": "p:1"}, "https://vision.example", ("http://p:1", "ALL_PROXY")),
        ({"ALL_PROXY": "p:1", "http_proxy": "q:2"}, SERVER, ("http://q:2", "http_proxy")),
        ({"http_proxy": "p:1", "no_proxy": "*"}, SERVER, None),
        ({"http_proxy": "p:1", "NO_PROXY": "other.example, example"}, SERVER, None),
        ({"http_proxy": "p:1", "no_proxy": "vision.example:8000"}, SERVER, None),
        ({"http_proxy": "p:1", "no_proxy": "vision.example:9"}, SERVER, ("http://p:1", "http_proxy")),
        ({"http_proxy": "p:1", "no_proxy": "fd00::1"}, "http://[fd00::1]:8000", None),
        ({"http_proxy": "p:1"}, "http://[fd00::1]:8000", ("http://p:1", "http_proxy")),
        ({"http_proxy": "p:1"}, "http://10.0.0.1:8000", ("http://p:1", "http_proxy")),
    ],
)
def test_proxy_is_chosen_by_scheme_and_exceptions(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], url: str, expected: tuple[str, str] | None
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert used(url) == expected


@pytest.mark.parametrize("value", ["socks5://p:1", "ftp://p", "http://", "http://p:x", "http://p\udce9:1"])
def test_unusable_proxy_is_an_error_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, image: Path, value: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", value)
    assert "environment variable ALL_PROXY does not contain the address of an HTTP proxy" in error_of(SERVER, image)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("LOCALHOST.", True),
        ("api.localhost", True),
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", True),
        ("localhost.example", False),
        ("notlocalhost", False),
        ("128.0.0.1", False),
        ("10.0.0.1", False),
        ("::2", False),
        ("127.0.0.1.example", False),
    ],
)
def test_loopback_addresses_are_recognized(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


# --- requests


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_server_on_this_machine_is_reached_without_the_proxy(
    monkeypatch: pytest.MonkeyPatch, image: Path, host: str
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    with http_server(lambda _: RESULT) as server:
        assert classify(f"http://{host}:{server.port}", image) == [("blue", 0, 0.9)]


def test_other_server_is_reached_through_the_proxy(monkeypatch: pytest.MonkeyPatch, image: Path) -> None:
    with http_server(lambda _: RESULT) as proxy:
        monkeypatch.setenv("http_proxy", f"http://user:secret@127.0.0.1:{proxy.port}")
        assert classify(SERVER, image) == [("blue", 0, 0.9)]
    (request,) = proxy.requests
    assert request.target == f"{SERVER}/v1/classify?model=colours&top_k=1"
    assert request.headers["Proxy-Authorization"].startswith("Basic ")


def test_unreachable_proxy_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch, image: Path) -> None:
    port = free_port()
    monkeypatch.setenv("HTTP_PROXY", f"http://user:secret@127.0.0.1:{port}")
    error = error_of(SERVER, image)
    assert f"No response from {SERVER} through the proxy http://127.0.0.1:{port}" in error
    assert "environment variable HTTP_PROXY" in error
    assert "add vision.example to the environment variable no_proxy" in error
    assert "secret" not in error


@pytest.mark.parametrize("status", [403, 407, 502])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_proxy_that_rejects_the_request_is_named(
    monkeypatch: pytest.MonkeyPatch, image: Path, scheme: str, status: int
) -> None:
    with http_server(lambda _: Response(status, b"<html>no</html>")) as proxy:
        monkeypatch.setenv(f"{scheme}_proxy", proxy.url)
        error = error_of(f"{scheme}://vision.example", image)
    assert str(status) in error
    assert f"the proxy {proxy.url}, which the environment variable {scheme}_proxy sets" in error


def test_page_of_a_proxy_in_place_of_a_result_names_it(monkeypatch: pytest.MonkeyPatch, image: Path) -> None:
    with http_server(lambda _: Response(200, b"<html>Please log in</html>")) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        error = error_of(SERVER, image)
    assert "does not respond like this service" in error
    assert "environment variable http_proxy" in error


@pytest.mark.parametrize(
    ("response", "is_named"),
    [(json_response(415, {"detail": "This is not an image."}), False), (Response(413, b"too large"), True)],
)
def test_error_of_the_service_itself_does_not_name_the_proxy(
    monkeypatch: pytest.MonkeyPatch, image: Path, response: Response, is_named: bool
) -> None:
    failures: dict[str, str] = {}
    with http_server(lambda _: response) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        assert list(client.classify(SERVER, {"a": image}, "colours", 1, failures.__setitem__)) == []
    assert ("http_proxy" in failures["a"]) is is_named


# --- redirects


def redirect(status: int, location: str) -> Response:
    return Response(status, b"", {"Location": location})


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("location", ["/vision/v1/classify?model=other", "ABSOLUTE/vision/v1/classify?model=other"])
def test_redirect_within_the_origin_is_followed_with_the_image(image: Path, status: int, location: str) -> None:
    def respond(request: Request) -> Response:
        moved = redirect(status, location.replace("ABSOLUTE", server.url))
        return RESULT if request.target.startswith("/vision/") else moved

    with http_server(respond) as server:
        assert classify(server.url, image) == [("blue", 0, 0.9)]
    assert [(request.method, request.target, request.body) for request in server.requests] == [
        ("POST", "/v1/classify?model=colours&top_k=1", b"image"),
        ("POST", "/vision/v1/classify?model=other", b"image"),
    ]


@pytest.mark.parametrize(
    ("status", "location", "expected"),
    [
        (308, "https://vision.example/v1/classify?model=x", "(308). Use --url https://vision.example"),
        (301, "https://127.0.0.1:PORT/v1/classify", "(301). Use --url https://127.0.0.1:PORT"),
        (302, "http://localhost:PORT/a/v1/classify", "(302). Use --url http://localhost:PORT/a"),
        (302, "https://login.example/?next=x", "redirects to https://login.example/ (302). Check the address."),
        (303, "/v1/classify/", "redirects to http://127.0.0.1:PORT/v1/classify/ (303). Check the address."),
        (302, "http://a:b", "No response from"),
    ],
)
def test_redirect_to_another_server_is_reported(image: Path, status: int, location: str, expected: str) -> None:
    with http_server(lambda _: redirect(status, location.replace("PORT", str(server.port)))) as server:
        error = error_of(server.url, image)
    assert expected.replace("PORT", str(server.port)) in error
    assert len(server.requests) == 1


def test_endless_redirects_are_reported(image: Path) -> None:
    with http_server(lambda _: redirect(307, "/v1/classify")) as server:
        assert "redirects more than 5 times" in error_of(server.url, image)
    assert len(server.requests) == 6


def test_redirect_without_an_address_is_reported(image: Path) -> None:
    with http_server(lambda _: Response(302)) as server:
        assert "the server answered 302" in error_of(server.url, image)


# --- addresses


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:8000", "localhost:8000", "vision", "ftp://x", "http://", "http://a:b", "http://caf\udce9"]
)
def test_invalid_address_is_reported_in_one_line(image: Path, url: str) -> None:
    assert error_of(url, image).startswith(f"No response from {url} (it does not start with http:// or https://, or ")


def test_model_name_that_is_not_utf8_is_sent_as_text(image: Path) -> None:
    failures: dict[str, str] = {}
    with http_server(lambda _: json_response(422, {"detail": "No such model."})) as server:
        assert list(client.classify(server.url, {"a": image}, "caf\udce9", 1, failures.__setitem__)) == []
    assert failures == {"a": "No such model."}
