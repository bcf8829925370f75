"""Who asks, by key or by address, and how much of the server one of them may have."""

from __future__ import annotations

import functools
import ipaddress
import math
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import limits
import structlog
from limits.aio.storage import RedisStorage, Storage
from limits.aio.strategies import FixedWindowRateLimiter
from limits.errors import StorageError
from limits.limits import RateLimitItem

from app.auth.keys import KeyRing, Role
from app.auth.memory_storage import HeapMemoryStorage
from app.errors import ConcurrencyLimited, Forbidden, RateLimited, Unauthorized
from app.settings import Settings

_REFRESH_S = 1.0
_STORAGE_TIMEOUT_S = 0.5
_STORAGE_AGAIN_S = 10.0
_BUSY_RETRY_S = 1

logger = structlog.get_logger("app")


@dataclass(frozen=True)
class Caller:
    """Whose limits count, by key or by address, and what may be done."""

    id: str
    role: Role = Role.USER
    key: str | None = None

    def require(self, role: Role) -> None:
        """Raise Forbidden for an address that is not for this caller."""
        if role is Role.ADMIN and self.role is not Role.ADMIN:
            raise Forbidden("This address is for admin keys: python -m app.auth.keys NAME --admin makes one.")


class AccessControl:
    """The keys, if there are any, and the limits, if there are any. Lives on one event loop."""

    def __init__(self, settings: Settings) -> None:
        """Read the keys; raises BadKeysFile."""
        self._ring = KeyRing(settings.api_keys_file) if settings.api_keys_file else None
        self._refreshed = time.monotonic()
        self._items = _shortest_first(settings.rate_limit)
        self._local = FixedWindowRateLimiter(HeapMemoryStorage())
        self._shared = FixedWindowRateLimiter(_redis(settings.rate_limit_url)) if settings.rate_limit_url else None
        self._is_shared_lost = False
        self._shared_again = 0.0  # as time.monotonic()
        self._most_at_once = settings.max_concurrent
        self._at_once: Counter[str] = Counter()

    @property
    def needs_key(self) -> bool:
        """Whether there are keys."""
        return self._ring is not None

    def authenticate(self, key: str | None, address: str | None) -> Caller:
        """Who presents this key, if keys are needed; else who has this address. Raises Unauthorized."""
        if self._ring is None:
            return self.anonymous_caller(address)
        if time.monotonic() - self._refreshed > _REFRESH_S:
            self._refreshed = time.monotonic()
            self._ring.refresh()
        if not key:
            raise Unauthorized("A key is needed: Authorization: Bearer KEY, or X-API-Key: KEY.")
        found = self._ring.find(key)
        if found is None:
            raise Unauthorized("This key is none of the server's.")
        return Caller(f"key:{found.name}", found.role, found.name)

    def anonymous_caller(self, address: str | None) -> Caller:
        """Who has this address, whatever key may come later."""
        return _at(address)

    @asynccontextmanager
    async def acquire(self, caller: Caller) -> AsyncIterator[dict[str, str]]:
        """Count a request while it is answered; gives the headers that say what is left.

        Raises:
            RateLimited: too many requests in the time that the limit names.
            TooManyAtOnce: too many under way.
        """
        if self._most_at_once is not None and self._at_once[caller.id] >= self._most_at_once:
            raise ConcurrencyLimited(
                f"The limit of requests under way is {self._most_at_once}. Wait for an answer first.", _BUSY_RETRY_S
            )
        self._at_once[caller.id] += 1
        try:
            yield await self._counted(caller)
        finally:
            self._at_once[caller.id] -= 1
            if not self._at_once[caller.id]:
                del self._at_once[caller.id]

    async def _counted(self, caller: Caller) -> dict[str, str]:
        if self._shared and self._is_worth_asking():
            try:
                headers = await _hit(self._shared, self._items, caller)
            except StorageError as error:
                self._shared_again = time.monotonic() + _STORAGE_AGAIN_S
                if not self._is_shared_lost:
                    logger.warning(
                        "The shared rate limits cannot be reached; each server counts alone.", why=str(error)
                    )
                self._is_shared_lost = True
            else:
                self._is_shared_lost = False
                return headers
        return await _hit(self._local, self._items, caller)

    def _is_worth_asking(self) -> bool:
        """Whether the shared counters are there; once they are lost, only one request in a while waits to find out."""
        if not self._is_shared_lost:
            return True
        is_time = time.monotonic() >= self._shared_again
        if is_time:
            self._shared_again = time.monotonic() + _STORAGE_AGAIN_S
        return is_time


async def _hit(limiter: FixedWindowRateLimiter, items: list[RateLimitItem], caller: Caller) -> dict[str, str]:
    """Count a request against each limit; the RateLimit headers (IETF draft-ietf-httpapi-ratelimit-headers-10).

    What a short limit refuses uses up none of the longer ones.
    """
    if not items:
        return {}
    is_within = True
    for item in items:
        is_within = is_within and await limiter.hit(item, caller.id)
    now, policies, states, wait_s = time.time(), [], [], 0
    for item in items:
        reset, remaining = await limiter.get_window_stats(item, caller.id)
        window_s, left_s = item.get_expiry(), max(1, math.ceil(reset - now))
        policies.append(f'"{window_s}s";q={item.amount};w={window_s}')
        states.append(f'"{window_s}s";r={remaining};t={left_s}')
        wait_s = wait_s if remaining else max(wait_s, left_s)
    headers = {"RateLimit-Policy": ", ".join(policies), "RateLimit": ", ".join(states)}
    if not is_within:
        raise RateLimited(f"The limit of requests is {'; '.join(map(str, items))}. Wait.", wait_s, headers)
    return headers


def _shortest_first(rate_limit: str) -> list[RateLimitItem]:
    return sorted(limits.parse_many(rate_limit), key=RateLimitItem.get_expiry) if rate_limit else []


def _redis(url: str) -> Storage:
    """Counters in Redis, for several servers; a slow Redis must not slow answers down."""
    return RedisStorage(
        f"async+{url}",
        wrap_exceptions=True,
        implementation="redispy",
        socket_timeout=_STORAGE_TIMEOUT_S,
        socket_connect_timeout=_STORAGE_TIMEOUT_S,
    )


@functools.lru_cache(4096)
def _at(address: str | None) -> Caller:
    return Caller(f"address:{_subscriber(address)}")


def _subscriber(address: str | None) -> str:
    """Whose address it is: one of IPv6 is 64 bits of somebody's, who can change the others at will (RFC 6177)."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return "unknown"
    if parsed.version == 6 and parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else str(parsed)
