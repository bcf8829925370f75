"""Rate limits for each caller, counted in this process or in a Redis that several servers share."""

from __future__ import annotations

import math
import time

import limits
import structlog
from limits.aio.storage import RedisStorage, Storage
from limits.aio.strategies import FixedWindowRateLimiter
from limits.errors import StorageError
from limits.limits import RateLimitItem

from app.auth.memory_storage import HeapMemoryStorage
from app.errors import RateLimited

_STORAGE_TIMEOUT_S = 0.5
_STORAGE_RETRY_S = 10.0  # between two attempts to reach a Redis that is down, each of which delays one request

logger = structlog.get_logger("app")


class RateLimits:
    """Counts requests in fixed windows. Lives on one event loop."""

    def __init__(self, rate_limit: str, redis_url: str) -> None:
        """Parse the limits.

        Args:
            rate_limit: one or several limits, such as `10/second; 600/minute`; empty for none.
            redis_url: Redis that several servers share; empty to count in this process.
        """
        items = limits.parse_many(rate_limit) if rate_limit else []
        self._items = sorted(items, key=RateLimitItem.get_expiry)  # shortest first
        self._local = FixedWindowRateLimiter(HeapMemoryStorage())
        self._shared = FixedWindowRateLimiter(_redis_storage(redis_url)) if redis_url else None
        self._is_shared_down = False
        self._next_attempt = 0.0  # as time.monotonic()

    async def hit(self, caller_id: str) -> dict[str, str]:
        """Count one request and return the RateLimit headers; raises RateLimited."""
        if not self._items:
            return {}
        if self._shared and self._should_try_shared():
            try:
                headers = await _hit(self._shared, self._items, caller_id)
            except StorageError as error:
                self._next_attempt = time.monotonic() + _STORAGE_RETRY_S
                if not self._is_shared_down:
                    logger.warning("Redis is unreachable; rate limits are counted in this process.", why=str(error))
                self._is_shared_down = True
            else:
                self._is_shared_down = False
                return headers
        return await _hit(self._local, self._items, caller_id)

    def _should_try_shared(self) -> bool:
        """Return True while Redis responds, and while it is down once in `_STORAGE_RETRY_S` seconds."""
        if not self._is_shared_down:
            return True
        is_due = time.monotonic() >= self._next_attempt
        if is_due:
            self._next_attempt = time.monotonic() + _STORAGE_RETRY_S
        return is_due


async def _hit(limiter: FixedWindowRateLimiter, items: list[RateLimitItem], caller_id: str) -> dict[str, str]:
    """Count a request against every limit, shortest first; a rejection uses up none of the longer limits.

    The headers follow the IETF's draft-ietf-httpapi-ratelimit-headers-10.
    """
    is_within = True
    for item in items:
        is_within = is_within and await limiter.hit(item, caller_id)
    now, policies, states, retry_after_s = time.time(), [], [], 0
    for item in items:
        reset, remaining = await limiter.get_window_stats(item, caller_id)
        window_s, reset_s = item.get_expiry(), max(1, math.ceil(reset - now))
        policies.append(f'"{window_s}s";q={item.amount};w={window_s}')
        states.append(f'"{window_s}s";r={remaining};t={reset_s}')
        retry_after_s = retry_after_s if remaining else max(retry_after_s, reset_s)
    headers = {"RateLimit-Policy": ", ".join(policies), "RateLimit": ", ".join(states)}
    if not is_within:
        limit = "; ".join(map(str, items))
        raise RateLimited(f"The rate limit is {limit}. Retry after {retry_after_s} s.", retry_after_s, headers)
    return headers


def _redis_storage(url: str) -> Storage:
    """Return counters in Redis with short timeouts, so that a slow Redis does not delay responses."""
    return RedisStorage(
        f"async+{url}",
        wrap_exceptions=True,
        implementation="redispy",
        socket_timeout=_STORAGE_TIMEOUT_S,
        socket_connect_timeout=_STORAGE_TIMEOUT_S,
    )
