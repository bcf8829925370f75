"""Server processes that tests start and end, and single requests to them."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.message import Message
from typing import Any

from tests.support.forked import ForkedModule
from tests.support.paths import ROOT
from tests.support.polling import wait_until

TINY_SERVER = "tests.support.tiny_server"


class ServerProcess:
    """A server process and its log."""

    def __init__(self, process: ForkedModule | subprocess.Popen[str]) -> None:
        """Start to read the log of a process."""
        self.process = process
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.lines.extend(self.process.stderr)

    @property
    def log(self) -> str:
        """Return everything on standard error so far."""
        return "".join(self.lines)

    def wait_for_log(self, pattern: str, timeout_s: float = 60) -> re.Match[str]:
        """Wait until the log matches; raises AssertionError if the server exits first or time runs out."""

        def is_decided() -> bool:
            has_ended = not self._reader.is_alive()
            return bool(re.search(pattern, self.log)) or has_ended

        with suppress(AssertionError):
            wait_until(is_decided, timeout_s)
        match = re.search(pattern, self.log)
        assert match, f"{pattern!r} did not appear in the log:\n{self.log}"
        return match

    def address(self, timeout_s: float = 100) -> str:
        """Wait until the server is ready, and return `http://host:port`."""
        return self.wait_for_log(r"Ready .* Open (http://[^\s\"]+)/", timeout_s)[1]

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.process.terminate()

    def exit_code(self, timeout_s: float = 20) -> int:
        """Wait until the process exits and return its exit code."""
        code = self.process.wait(timeout_s)
        self._reader.join(5)
        return code

    def close(self) -> None:
        """Kill the process if it still runs."""
        self.process.kill()
        self.process.wait(10)
        self._reader.join(5)
        if self.process.stderr:
            self.process.stderr.close()


@contextmanager
def server(module: str, **variables: str) -> Iterator[ServerProcess]:
    """Run `python -m MODULE` with these settings until the block ends, forked from a process with the imports."""
    process = ServerProcess(ForkedModule(module, _environment(variables)))
    try:
        yield process
    finally:
        process.close()


@contextmanager
def server_in_new_interpreter(module: str, **variables: str) -> Iterator[ServerProcess]:
    """Run the same with a new interpreter like a user, which takes two seconds longer."""
    command, environment = [sys.executable, "-m", module], _environment(variables)
    process = ServerProcess(subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True))
    try:
        yield process
    finally:
        process.close()


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return this environment with only these settings; APP_PORT defaults to a free port."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("APP_")}
    return {**kept, "APP_PORT": "0", **variables}


def free_port() -> int:
    """Return a free port, for tests that need it before the server is ready."""
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
    """Send GET on a new connection; raises OSError if no server listens."""
    return _request(address, "GET", path)


def post(address: str, image: bytes, query: str = "") -> Answer:
    """Classify an image on a new connection; raises OSError if no server listens."""
    return _request(address, "POST", f"/v1/classify{query}", image)


def wait_for_metric(address: str, name: str, value: float) -> None:
    """Wait until /metrics shows this value."""
    wait_until(lambda: f"\n{name} {value:.1f}\n" in get(address, "/metrics").body.decode())


def _request(address: str, method: str, path: str, body: bytes | None = None) -> Answer:
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=30)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()
