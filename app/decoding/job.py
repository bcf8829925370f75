"""One image to decode, and the request that it belongs to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from models.decoding.protocol import DecodeRequest, ResponseHeader


@dataclass(frozen=True, eq=False)
class RequestKey:
    """Identifies a request in the fair queue, however many images it has."""

    images: int = 1


@dataclass(eq=False)
class DecodeJob:
    """An image to decode. Used only on the event loop thread; calls `on_done` or `on_error` once."""

    request: RequestKey
    options: DecodeRequest
    data: bytes
    on_done: Callable[[ResponseHeader, bytes], None]
    """Called with the header and the body of a successful response."""
    on_error: Callable[[BaseException], None]
    on_moved: Callable[[], None] | None = None
    """Called when the image turns out to be larger than small, before it waits for its turn among others like it."""
    is_active: bool = True
    """False once the job is done, cancelled or rejected: later responses are ignored."""
    was_retried: bool = False
    """True once a worker was killed while it decoded the image."""

    def complete(self, header: ResponseHeader, body: bytes) -> None:
        """Finish the job with a successful response; if the callback raises, the job can still be rejected."""
        self.on_done(header, body)
        self._close()

    def reject(self, error: BaseException) -> None:
        """Fail the job, unless it is no longer active."""
        if self.is_active:
            self._close()
            self.on_error(error)

    def cancel(self) -> None:
        """Ignore later responses."""
        self._close()

    def _close(self) -> None:
        """Deactivate the job, and drop the image: a worker or a timer may refer to the job for a while."""
        self.is_active = False
        self.data = b""
