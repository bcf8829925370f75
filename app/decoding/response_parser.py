"""Parse the stream of responses of a decode worker."""

from __future__ import annotations

import json
from collections.abc import Iterator

from models.decoding.protocol import RESPONSE_PREFIX, ResponseHeader

# Far above any correct response: a worker that was taken over by a hostile image must not exhaust the server's memory.
_MAX_HEADER_BYTES = 64 * 1024
_MAX_BODY_BYTES = 64 * 1024 * 1024


class ResponseParser:
    """Splits a byte stream into responses."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[ResponseHeader, bytes]]:
        """Add received bytes and yield the header and the body of each complete response; raises ValueError."""
        self._buffer += data
        while (response := self._next()) is not None:
            yield response

    def _next(self) -> tuple[ResponseHeader, bytes] | None:
        buffer = self._buffer
        if len(buffer) < RESPONSE_PREFIX.size:
            return None
        header_bytes, body_bytes = RESPONSE_PREFIX.unpack_from(buffer)
        if header_bytes > _MAX_HEADER_BYTES or body_bytes > _MAX_BODY_BYTES:
            raise ValueError("The response of the decode worker is too long.")
        body_start = RESPONSE_PREFIX.size + header_bytes
        end = body_start + body_bytes
        if len(buffer) < end:
            return None
        with memoryview(buffer) as view:
            header: ResponseHeader = json.loads(bytes(view[RESPONSE_PREFIX.size : body_start]))
            body = bytes(view[body_start:end])
        del buffer[:end]
        return header, body
