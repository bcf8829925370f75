"""An HTTP server for downloads that can truncate its responses."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Served:
    """A file that is served at every path, the form of the responses, and the requests so far.

    Attributes:
        content: the bytes of the file.
        breaks_after: number of bytes after which each response is cut off, before its Content-Length.
        ranges: True if the server supports `Range`.
        status: the status of the responses.
        requested_ranges: the `Range` header of each request so far.
    """

    content: bytes
    breaks_after: int | None = None
    ranges: bool = True
    status: int = 200
    requested_ranges: list[str | None] = field(default_factory=list)
    url: str = ""


@contextmanager
def serve(served: Served) -> Iterator[Served]:
    """Serve the file at `served.url` within this context."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requested_range = self.headers["Range"]
            served.requested_ranges.append(requested_range)
            has_offset = requested_range and served.ranges
            start = int(requested_range.removeprefix("bytes=").removesuffix("-")) if has_offset else 0
            rest = served.content[start:]
            self.send_response(206 if start else served.status)
            self.send_header("Content-Length", str(len(rest)))
            self.send_header("Content-Encoding", "x-gzip")  # some servers label .tar.gz files like this
            self.end_headers()
            self.wfile.write(rest[: served.breaks_after])
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        served.url = f"http://127.0.0.1:{server.server_port}/cifar-10-python.tar.gz"
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()
