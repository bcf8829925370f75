"""Enforce the deadline of a request while its images are decoded, queued and classified."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.errors import DeadlineExceeded


@asynccontextmanager
async def deadline_scope(deadline: float | None) -> AsyncIterator[None]:
    """Cancel the block when the absolute monotonic deadline passes; None means no deadline.

    Raises:
        DeadlineExceeded: the deadline passed first.
    """
    remaining_s = None if deadline is None else deadline - time.monotonic()
    try:
        async with asyncio.timeout(remaining_s):
            yield
    except TimeoutError as error:
        raise DeadlineExceeded("The deadline passed before the response was ready. Allow more time.") from error
