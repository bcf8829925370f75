"""The proxy that the environment sets for requests to a server: http_proxy, https_proxy, all_proxy and no_proxy."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from urllib.request import proxy_bypass

import httpx

from models.errors import ServerError

_SCHEMES = ("http", "https")
_LOCALHOST = "localhost"


@dataclass(frozen=True)
class EnvironmentProxy:
    """A proxy for one server, and the environment variable that names it."""

    url: httpx.URL
    variable: str
    host: str

    def __str__(self) -> str:
        address = self.url.copy_with(userinfo=b"")  # the password is not shown
        return f"the proxy {address}, which the environment variable {self.variable} sets"

    @property
    def advice(self) -> str:
        """How to do without the proxy."""
        return f"To connect without it, add {self.host} to the environment variable no_proxy."


def environment_proxy(server: httpx.URL) -> EnvironmentProxy | None:
    """Return the proxy for a server; None if there is none, or the server is on this machine.

    As in other programs, the lower-case name of a variable precedes the upper-case one, and no_proxy lists exceptions.

    Raises:
        ServerError: the variable contains no usable address.
    """
    host = server.host
    if is_loopback(host) or proxy_bypass(host if ":" in host or server.port is None else f"{host}:{server.port}"):
        return None
    for name in (f"{server.scheme}_proxy", "all_proxy"):
        variable = name if name in os.environ else name.upper()
        value = os.environ.get(variable, "").strip()
        if value:
            return EnvironmentProxy(_parse(value, variable), variable, host)
    return None


def is_loopback(host: str) -> bool:
    """Return True if a host is this machine: localhost, 127.0.0.0/8, ::1, and the addresses that mean any interface."""
    name = host.rstrip(".").lower()
    if name == _LOCALHOST or name.endswith(f".{_LOCALHOST}"):  # RFC 6761, section 6.3
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address.is_loopback or address.is_unspecified


def _parse(value: str, variable: str) -> httpx.URL:
    try:
        url = httpx.URL(value if "://" in value else f"http://{value}")
    except (httpx.InvalidURL, UnicodeError):
        url = httpx.URL()
    if url.scheme not in _SCHEMES or not url.host:
        raise ServerError(
            f"The environment variable {variable} does not contain the address of an HTTP proxy. Correct or unset it."
        )
    return url
