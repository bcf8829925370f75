"""The listening socket of the server."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress

from app.settings import Settings

_BACKLOG = 2048  # connections that the kernel holds until the event loop accepts them


def listen(host: str, port: int) -> socket.socket:
    """Open the listening socket; raises OSError."""
    is_ipv6 = ":" in host
    return socket.create_server(
        (host, port),
        family=socket.AF_INET6 if is_ipv6 else socket.AF_INET,
        backlog=_BACKLOG,
        dualstack_ipv6=host == "::" and socket.has_dualstack_ipv6(),
    )


def accept_backlog(listener: socket.socket) -> Iterator[socket.socket]:
    """Yield the connections that the kernel has accepted and the event loop has not."""
    listener.setblocking(False)
    with suppress(OSError):  # the backlog is empty
        while True:
            yield listener.accept()[0]


def url_of(host: str, listener: socket.socket) -> str:
    """Return the URL to open in a browser on this machine."""
    is_wildcard = host in ("0.0.0.0", "::")  # noqa: S104 - compared, not bound
    name = "127.0.0.1" if is_wildcard else f"[{host}]" if ":" in host else host
    return f"http://{name}:{listener.getsockname()[1]}/"


def bind_error(settings: Settings, error: OSError) -> str:
    """Return the message for an address that cannot be bound."""
    other_port = settings.port + 1 if settings.port else 8000
    reason = error.strerror or error
    return f"Cannot listen on {settings.host} port {settings.port}: {reason}. Use another port: APP_PORT={other_port}"
