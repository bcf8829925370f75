"""Hosts that a request may name in its header Host (RFC 9110, 7.2)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

ANY = "*"
LOOPBACK = ("localhost", "*.localhost", "127.0.0.1", "::1", "")
"""Names of this machine itself, and the missing Host of HTTP/1.0."""

_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[^:\[\]/?#@]*)(?::(?P<port>[0-9]{0,5}))?", re.IGNORECASE)
_PATTERN = re.compile(r"\*|(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*", re.IGNORECASE)


class AllowedHosts:
    """A set of host names, IP addresses and patterns such as `*.example.org`."""

    def __init__(self, patterns: Iterable[str]) -> None:
        """Allow the hosts of `patterns`, as `check_pattern` accepts them; `*` allows every host."""
        names = [_normalized(pattern.strip().lower().strip("[]")) for pattern in patterns]
        self.allows_any = ANY in names
        self._names = frozenset(name for name in names if not name.startswith("*."))
        self._suffixes = tuple(name[1:] for name in names if name.startswith("*."))

    def allows(self, host: str) -> bool:
        """Return True if the value of a Host header, with any port, is one of these hosts."""
        if self.allows_any:
            return True
        name = split_port(host)[0]
        return name in self._names or (name.endswith(self._suffixes) and not name.startswith("."))


def check_pattern(pattern: str) -> None:
    """Raise ValueError unless `pattern` is a host name, an IP address, `*.` and a host name, or `*`."""
    if not _PATTERN.fullmatch(pattern) and not is_address(pattern.strip("[]")):
        raise ValueError(f"{pattern!r} is no host name, IP address or pattern like *.example.org (without a port)")


def split_port(host: str) -> tuple[str, str]:
    """Split the value of a Host header into the host and its port, which may be empty.

    The host is in lower case, without the brackets of an IPv6 address and without the dot of an absolute name; a
    malformed value is returned as it is.
    """
    match = _HOST.fullmatch(host)
    if match is None:
        return host, ""
    return _normalized(match["name"].lower().strip("[]").removesuffix(".")), match["port"] or ""


def _normalized(name: str) -> str:
    """Return an IPv6 address in its shortest form, and any other name as it is."""
    return str(ipaddress.ip_address(name)) if ":" in name and is_address(name) else name


def is_address(name: str) -> bool:
    """Return True if a host without its port is an IP address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_loopback(name: str) -> bool:
    """Return True if only this machine can reach a server that listens on this host."""
    return name.lower() == "localhost" or (is_address(name) and ipaddress.ip_address(name).is_loopback)
