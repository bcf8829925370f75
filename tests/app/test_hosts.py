"""Which hosts a request may name."""

from __future__ import annotations

import pytest

from app import hosts
from app.hosts import AllowedHosts, check_pattern
from app.settings import Settings


@pytest.mark.parametrize(
    ("patterns", "host"),
    [
        (hosts.LOOPBACK, "localhost"),
        (hosts.LOOPBACK, "LOCALHOST:8000"),
        (hosts.LOOPBACK, "images.localhost:8000"),
        (hosts.LOOPBACK, "127.0.0.1:8000"),
        (hosts.LOOPBACK, "[::1]:8000"),
        (hosts.LOOPBACK, ""),
        (["*.example.org"], "images.example.org"),
        (["*.example.org"], "a.images.example.org:443"),
        (["Example.ORG"], "example.org."),
        (["2001:db8::1"], "[2001:DB8::1]:80"),
        (hosts.LOOPBACK, "[0:0:0:0:0:0:0:1]:8000"),
        (["2001:db8:0:0::1"], "[2001:db8::1]"),
        (["[2001:db8::1]"], "[2001:db8::1]"),
        (["a.example", "*"], "anything"),
    ],
)
def test_allowed_host_is_recognized(patterns: list[str], host: str) -> None:
    assert AllowedHosts(patterns).allows(host)


@pytest.mark.parametrize(
    ("patterns", "host"),
    [
        (hosts.LOOPBACK, "evil.example"),
        (hosts.LOOPBACK, "localhost.evil.example"),
        (hosts.LOOPBACK, "evil.example#localhost"),
        (hosts.LOOPBACK, "localhost:8000@evil.example"),
        (hosts.LOOPBACK, "evillocalhost"),
        (hosts.LOOPBACK, ".localhost"),
        (hosts.LOOPBACK, "127.0.0.1.evil.example"),
        (hosts.LOOPBACK, "127.0.0.2"),
        (["*.example.org"], "example.org"),
        (["*.example.org"], "evilexample.org"),
        (["example.org"], "images.example.org"),
        (["example.org"], ""),
    ],
)
def test_other_host_is_not_allowed(patterns: list[str], host: str) -> None:
    assert not AllowedHosts(patterns).allows(host)


@pytest.mark.parametrize(
    "pattern", ["", "example.org:443", "https://example.org", "*.", "a*.example.org", "a b", "*.*"]
)
def test_pattern_that_would_match_nothing_is_rejected(pattern: str) -> None:
    with pytest.raises(ValueError, match="no host name"):
        check_pattern(pattern)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.9"])
def test_loopback_server_responds_to_its_own_machine_only_by_default(host: str) -> None:
    allowed = AllowedHosts(Settings(host=host).host_patterns)
    assert allowed.allows(f"[{host}]" if ":" in host else host)
    assert not allowed.allows("evil.example")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "images.example.org"])
def test_other_servers_respond_to_any_host_by_default(host: str) -> None:
    assert AllowedHosts(Settings(host=host).host_patterns).allows_any
