"""The listening socket: its addresses, its backlog, and how it is named."""

from __future__ import annotations

import errno
import socket
import struct
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from app.server.listener import accept_backlog, bind_error, listen, url_of
from app.settings import Settings


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("0.0.0.0", "127.0.0.1"),
        ("::", "127.0.0.1"),
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.2", "127.0.0.2"),
        ("images.example", "images.example"),
        ("::1", "[::1]"),
    ],
)
def test_url_names_an_address_that_a_browser_can_open(host: str, name: str) -> None:
    with listen("127.0.0.1", 0) as listener:
        assert url_of(host, listener) == f"http://{name}:{listener.getsockname()[1]}/"


@pytest.mark.parametrize(
    ("host", "reachable"),
    [("127.0.0.1", ["127.0.0.1"]), ("0.0.0.0", ["127.0.0.1"]), ("::", ["127.0.0.1", "::1"]), ("::1", ["::1"])],
)
def test_server_is_reached_by_the_addresses_of_its_host(host: str, reachable: list[str]) -> None:
    with listen(host, 0) as listener:
        for address in ("127.0.0.1", "::1"):
            try:
                socket.create_connection((address, listener.getsockname()[1]), 10).close()
            except ConnectionRefusedError:
                assert address not in reachable
            else:
                assert address in reachable


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the size of the backlog")
def test_kernel_holds_2048_connections_as_far_as_it_is_allowed() -> None:
    allowed = int(Path("/proc/sys/net/core/somaxconn").read_text())
    with listen("127.0.0.1", 0) as listener:
        info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32)
        (backlog,) = struct.unpack_from("I", info, 28)  # tcp(7): tcpi_sacked of a listening socket
    assert backlog == min(2048, allowed)


def test_connections_of_the_backlog_are_accepted_until_there_is_none() -> None:
    with listen("127.0.0.1", 0) as listener, ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(socket.create_connection(listener.getsockname(), 10))
        accepted = [stack.enter_context(connection) for connection in accept_backlog(listener)]
        assert len(accepted) == 3
        assert list(accept_backlog(listener)) == []


@pytest.mark.parametrize(("port", "other"), [(8000, 8001), (0, 8000)])
def test_address_that_cannot_be_bound_is_reported_with_another_port(port: int, other: int) -> None:
    message = bind_error(Settings(port=port), OSError(errno.EADDRINUSE, "Address already in use"))
    assert message == (
        f"Cannot listen on 127.0.0.1 port {port}: Address already in use. Use another port: APP_PORT={other}"
    )
    assert "port 1: no such name." in bind_error(Settings(port=1), OSError("no such name"))
