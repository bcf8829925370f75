"""Callers, identified by API key or address, and the limits that apply to each of them."""

from __future__ import annotations

import functools
import ipaddress
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from app.auth.keys import KeyRing, Role
from app.auth.rate_limits import RateLimits
from app.errors import ConcurrencyLimited, Forbidden, Unauthorized
from app.settings import Settings

_REFRESH_S = 1.0  # between two checks whether the key file changed
_CONCURRENCY_RETRY_S = 1


@dataclass(frozen=True)
class Caller:
    """The client that a request's limits and rights belong to."""

    id: str
    role: Role = Role.USER
    key_name: str | None = None

    def require(self, role: Role) -> None:
        """Raise Forbidden if this caller lacks the role."""
        if role is Role.ADMIN and self.role is not Role.ADMIN:
            raise Forbidden("This address needs an admin key. Create one with: python -m app.keys NAME --admin")


class AccessControl:
    """Authenticates callers and enforces their rate and concurrency limits. Lives on one event loop."""

    def __init__(self, settings: Settings) -> None:
        """Read the keys; raises BadKeysFile."""
        self._ring = KeyRing(settings.api_keys_file) if settings.api_keys_file else None
        self._refreshed = time.monotonic()
        self._rate_limits = RateLimits(settings.rate_limit, settings.rate_limit_url)
        self._max_concurrent = settings.max_concurrent
        self._concurrent: Counter[str] = Counter()

    @property
    def needs_key(self) -> bool:
        """Return True if requests need an API key."""
        return self._ring is not None

    def authenticate(self, key: str | None, address: str | None) -> Caller:
        """Return the caller that a key belongs to, or, if no keys are configured, that an address belongs to.

        Raises:
            Unauthorized: the key is missing or unknown.
        """
        if self._ring is None:
            return self.anonymous_caller(address)
        if time.monotonic() - self._refreshed > _REFRESH_S:
            self._refreshed = time.monotonic()
            self._ring.refresh()
        if not key:
            raise Unauthorized("An API key is required. Send Authorization: Bearer KEY, or X-API-Key: KEY.")
        match = self._ring.find(key)
        if match is None:
            raise Unauthorized("Invalid API key.")
        return Caller(f"key:{match.name}", match.role, match.name)

    def anonymous_caller(self, address: str | None) -> Caller:
        """Return the caller that an address belongs to, whatever key it presents later."""
        return _anonymous_caller(address)

    @asynccontextmanager
    async def acquire(self, caller: Caller) -> AsyncIterator[dict[str, str]]:
        """Count a request against the caller's limits until the context exits; yields the RateLimit headers.

        Raises:
            RateLimited: the caller sent too many requests in a window.
            ConcurrencyLimited: the caller has too many requests in flight.
        """
        if self._max_concurrent is not None and self._concurrent[caller.id] >= self._max_concurrent:
            raise ConcurrencyLimited(
                f"The limit is {self._max_concurrent} concurrent requests. Wait for a response before sending more.",
                _CONCURRENCY_RETRY_S,
            )
        self._concurrent[caller.id] += 1
        try:
            yield await self._rate_limits.hit(caller.id)
        finally:
            self._concurrent[caller.id] -= 1
            if not self._concurrent[caller.id]:
                del self._concurrent[caller.id]


@functools.lru_cache(4096)
def _anonymous_caller(address: str | None) -> Caller:
    return Caller(f"address:{_subscriber(address)}")


def _subscriber(address: str | None) -> str:
    """Return the part of an address that one subscriber controls: of IPv6, the /64 network (RFC 6177)."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return "unknown"
    if parsed.version == 6 and parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else str(parsed)
