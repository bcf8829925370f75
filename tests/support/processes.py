"""Server processes that tests start, and end."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from typing import Any

from tests.support.paths import ROOT


class ServerProcess:
    """A server on a free port, and what it has logged."""

    def __init__(self, module: str, **variables: str) -> None:
        """Start `python -m module` with these variables; the port is read from its log."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("APP_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=ROOT,
            env={**kept, "APP_PORT": "0", **variables},
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.lines.extend(self.process.stderr)

    @property
    def log(self) -> str:
        """Everything on standard error so far."""
        return "".join(self.lines)

    def wait_for_log(self, pattern: str, timeout_s: float = 60) -> re.Match[str]:
        """Wait until the log matches."""
        until = time.monotonic() + timeout_s
        while time.monotonic() < until and self._reader.is_alive():
            if found := re.search(pattern, self.log):
                return found
            time.sleep(0.01)
        raise AssertionError(f"{pattern!r} did not appear in the log:\n{self.log}")

    def address(self, timeout_s: float = 100) -> str:
        """Wait until the server says that it is ready, and where."""
        return self.wait_for_log(r"Ready .* Open (http://[^\s\"]+)/", timeout_s)[1]

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.process.terminate()

    def exit_code(self, timeout_s: float = 20) -> int:
        """Wait for the end."""
        code = self.process.wait(timeout_s)
        self._reader.join(5)
        return code


@contextmanager
def server(module: str, **variables: str) -> Iterator[ServerProcess]:
    """A server process that does not outlive its test."""
    started = ServerProcess(module, **variables)
    try:
        yield started
    finally:
        started.process.kill()
        started.process.wait(10)
        started._reader.join(5)
        if started.process.stderr:
            started.process.stderr.close()


def free_port() -> int:
    """A port that nobody listens on, for tests that must know it before the server says it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


@dataclass(frozen=True)
class Answer:
    """A whole response."""

    status: int
    headers: Message
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def get(address: str, path: str) -> Answer:
    """GET on a connection of its own; raises OSError where nobody listens."""
    return _ask(address, "GET", path)


def post(address: str, picture: bytes) -> Answer:
    """Classify on a connection of its own; raises OSError where nobody listens."""
    return _ask(address, "POST", "/v1/classify", picture)


def wait_for_metric(address: str, name: str, value: float) -> None:
    """Wait until /metrics has this."""
    until = time.monotonic() + 30
    while f"\n{name} {value:.1f}\n" not in get(address, "/metrics").body.decode():
        assert time.monotonic() < until, f"{name} did not become {value}"
        time.sleep(0.01)


def _ask(address: str, method: str, path: str, body: bytes | None = None) -> Answer:
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=30)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()
