"""Uploads that the server rejects before it reads their body, one for each status, and servers in the state for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.auth.keys import Role, add_key
from tests.support.polling import wait_until
from tests.support.processes import TINY_SERVER, free_port, get, server

MAX_BODY_BYTES = 500_000
FORM = "multipart/form-data; boundary=b"
_FORM_START = b'--b\r\nContent-Disposition: form-data; name="file"; filename="f.jpg"\r\n\r\n'
_FORM_END = b"\r\n--b--\r\n"


@dataclass(frozen=True)
class Rejection:
    """An upload, the server of `rejecting_servers` that rejects it, and its response."""

    status: int
    code: str
    path: str = "/v1/classify"
    content_type: str = ""
    server: str = "open"

    def media_type(self, *, is_form: bool) -> str:
        """Return the Content-Type to send."""
        return self.content_type or (FORM if is_form else "image/jpeg")


REJECTIONS = (
    Rejection(413, "body_too_large"),
    Rejection(415, "unsupported_content_type", content_type="text/plain"),
    Rejection(404, "not_found", "/nowhere"),
    Rejection(404, "model_not_found", "/v1/classify?model=nosuch"),
    Rejection(422, "bad_parameter", "/v1/classify?nosuch=1"),
    Rejection(401, "unauthorized", server="keys"),
    Rejection(429, "rate_limited", server="limited"),
    Rejection(503, "not_ready", server="loading"),
)


def upload(size: int, *, is_form: bool) -> bytes:
    """Return the body of an upload of about `size` bytes."""
    image = b"\xff\xd8\xff" + bytes(size)
    return _FORM_START + image + _FORM_END if is_form else image


@contextmanager
def rejecting_servers(store: Path, folder: Path, **variables: str) -> Iterator[Mapping[str, str]]:
    """Run a server for each kind of rejection until the block ends; yield their addresses by name.

    Args:
        store: a tiny store.
        folder: for a file of keys; it may be empty.
        variables: more settings of all servers.
    """
    keys = folder / "keys"
    add_key(keys, "laptop", Role.USER)
    variables = {"APP_STORE": str(store), "APP_MAX_BODY_BYTES": str(MAX_BODY_BYTES), **variables}
    loading_port = str(free_port())
    with ExitStack() as stack:

        def start(**more: str) -> str:
            return stack.enter_context(server(TINY_SERVER, **variables, **more)).address()

        stack.enter_context(server(TINY_SERVER, **variables, APP_PORT=loading_port, TINY_LOAD_S="100000"))
        addresses = {
            "open": start(),
            "keys": start(APP_API_KEYS_FILE=str(keys)),
            "limited": start(APP_RATE_LIMIT="1/day"),
            "loading": f"http://127.0.0.1:{loading_port}",
        }
        assert get(addresses["limited"], "/v1/models").status == 200
        wait_until(lambda: _is_listening(addresses["loading"]))
        yield addresses


def _is_listening(address: str) -> bool:
    try:
        return get(address, "/livez").status == 200
    except OSError:
        return False
