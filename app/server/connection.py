"""The transport of one connection: closed without losing a response, and not kept for a client that never reads."""

from __future__ import annotations

import asyncio
import select
import time
from collections.abc import Callable
from typing import Any

_MAX_LINGER_S = 30.0
_HANG_UP: int = getattr(select, "POLLRDHUP", 0)
_MAX_LINGER_BYTES = 128 * 1024 * 1024


class Connection(asyncio.Transport):
    """Wraps the transport of a connection for uvicorn's protocol.

    - `close` while the client still sends closes in two steps (RFC 9112, 9.6): it ends the response, then reads and
      discards input within bounds of bytes and time. Closing at once would make the kernel send a reset, which can
      delete the response before the client reads it.
    - `check_progress`, called once a second, aborts a connection whose client does not read.
    - Reading can be held independently of the flow control of uvicorn.
    """

    def __init__(self, transport: asyncio.Transport, still_sends: Callable[[], bool], stall_timeout_s: float) -> None:
        """Wrap a transport.

        Args:
            transport: of the event loop.
            still_sends: returns True while the client has not sent all of what it announced.
            stall_timeout_s: seconds without progress after which a client that does not read is disconnected.
        """
        super().__init__()
        self._transport, self._still_sends, self._stall_timeout_s = transport, still_sends, stall_timeout_s
        self._is_closing = self._is_paused = self._is_held = False
        self._written = self._sent = self._discarded = 0
        self._lingers_since = 0.0
        self._stalled_since = time.monotonic()

    @property
    def lingers(self) -> bool:
        """True while input is read only to be discarded."""
        return self._lingers_since > 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send data, unless the connection is being closed."""
        if not self._is_closing:
            self._written += len(data)
            self._transport.write(data)

    def close(self) -> None:
        """Send what was written, then close; first read on if the client still sends."""
        if self._is_closing:
            return
        self._is_closing = True
        if self._still_sends() and not self._transport.is_closing():
            self._lingers_since = time.monotonic()
            self._set_reading(paused=False, held=False)
            self._transport.write_eof()
        else:
            self._transport.close()

    def abort(self) -> None:
        """Close at once; data that was not sent is lost."""
        self._is_closing = True
        self._transport.abort()

    def is_closing(self) -> bool:
        """Return True after `close` or `abort`, or if the connection is lost."""
        return self._is_closing or self._transport.is_closing()

    def client_has_left(self) -> bool:
        """Return True if the client has ended the connection, which nothing else shows while reading is held.

        Always False where the system has no event for it, as macOS.
        """
        if not _HANG_UP:
            return False
        poller = select.poll()
        poller.register(self._transport.get_extra_info("socket").fileno(), _HANG_UP)
        return bool(poller.poll(0))

    def discard(self, size: int) -> None:
        """Count bytes that arrived while the connection lingers."""
        self._discarded += size
        if self._discarded > _MAX_LINGER_BYTES:
            self.abort()

    def check_progress(self, now: float) -> None:
        """Abort a client that has read nothing for `stall_timeout_s`, or a linger that is too long.

        Args:
            now: `time.monotonic()`.
        """
        if self.lingers and now - self._lingers_since > _MAX_LINGER_S:
            self.abort()
            return
        unsent = self._transport.get_write_buffer_size()
        sent = self._written - unsent
        if not unsent or sent != self._sent:
            self._sent, self._stalled_since = sent, now
        elif now - self._stalled_since > self._stall_timeout_s:
            self.abort()

    def pause_reading(self) -> None:
        """Read no further until `resume_reading`."""
        self._set_reading(paused=True, held=self._is_held)

    def resume_reading(self) -> None:
        """Read on, unless reading is held."""
        self._set_reading(paused=False, held=self._is_held)

    def hold_reading(self) -> None:
        """Read no further until `release_reading`, whatever flow control does."""
        self._set_reading(paused=self._is_paused, held=True)

    def release_reading(self) -> None:
        """Read on, unless flow control has paused reading."""
        self._set_reading(paused=self._is_paused, held=False)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return information about the socket."""
        return self._transport.get_extra_info(name, default)

    def _set_reading(self, *, paused: bool, held: bool) -> None:
        was_stopped, is_stopped = self._is_paused or self._is_held, paused or held
        self._is_paused, self._is_held = paused, held
        if was_stopped == is_stopped or self._transport.is_closing():
            return
        if is_stopped:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()
