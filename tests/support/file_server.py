"""A real HTTP server for downloads, which can break off as servers do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Served:
    """What is served at any path, how, and what was asked for.

    Attributes:
        content: of the file.
        breaks_after: bytes after which each answer breaks off, though more were promised.
        ranges: whether `Range` is understood.
        status: of each answer to come.
        asked: the `Range` header of each request so far.
    """

    content: bytes
    breaks_after: int | None = None
    ranges: bool = True
    status: int = 200
    asked: list[str | None] = field(default_factory=list)
    url: str = ""


@contextmanager
def serving(served: Served) -> Iterator[Served]:
    """Serve until the block ends; `served.url` is where."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers["Range"]
            served.asked.append(asked)
            start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and served.ranges else 0
            rest = served.content[start:]
            self.send_response(206 if start else served.status)
            self.send_header("Content-Length", str(len(rest)))
            self.send_header("Content-Encoding", "x-gzip")  # as some servers label .tar.gz files
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
