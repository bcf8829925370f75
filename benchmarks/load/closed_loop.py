"""As many clients as there are connections, each with one request in flight: wrk, outside the server's process.

github.com/wg/wrk; `post.lua` tells it what to send, and prints what came back.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load.request import Request

_SCRIPT = Path(__file__).parent / "post.lua"
_TIMEOUT_S = 120
_PATIENCE_S = 60


class WrkMissing(Exception):
    """wrk is not installed; says how to get it."""

    def __init__(self) -> None:
        super().__init__("wrk is needed for this and not installed. On Debian and Ubuntu: apt-get install wrk")


@dataclass(frozen=True)
class Closed:
    """What came back: answers of 2xx, others, requests without an answer; latencies in seconds."""

    answers: int
    refused: int
    broken: int
    seconds: float
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.answers / self.seconds


def wrk() -> str:
    """Its path; raises WrkMissing."""
    path = shutil.which("wrk")
    if path is None:
        raise WrkMissing
    return path


def drive(url: str, requests: Sequence[Request], connections: int, seconds: float) -> Closed:
    """Post requests in turn for some seconds.

    Args:
        url: of the server.
        requests: no two need to be the same.
        connections: each with one request in flight.
        seconds: rounded up to whole ones.

    Raises:
        WrkMissing: see its message.
        RuntimeError: wrk failed, requests got no answer, or none got a good one.
    """
    with tempfile.TemporaryDirectory() as folder:
        _write(requests, Path(folder))
        options = ["-t", "1", "-c", str(connections), "-d", f"{max(1, round(seconds))}s", "--timeout", f"{_TIMEOUT_S}s"]
        command = [wrk(), *options, "--script", str(_SCRIPT), url, "--", folder]
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + _TIMEOUT_S + _PATIENCE_S)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        raise RuntimeError(f"wrk failed: {done.stderr or done.stdout}")
    found = json.loads(lines[-1])
    closed = Closed(**{**found, "answers": found["answers"] - found["refused"]})
    if closed.broken or not closed.answers:
        raise RuntimeError(f"Requests got no good answer: {closed}")
    return closed


def served(url: str, requests: Sequence[Request], connections: int, seconds: float) -> Closed:
    """The same where nothing may be refused, which is faster than to answer; raises RuntimeError."""
    closed = drive(url, requests, connections, seconds)
    if closed.refused:
        raise RuntimeError(f"{closed.refused} requests were refused, {closed.answers} were not.")
    return closed


def _write(requests: Sequence[Request], folder: Path) -> None:
    lines = []
    for number, request in enumerate(requests):
        (folder / str(number)).write_bytes(request.body)
        fields = (str(number), request.path, *(part for header in request.all_headers.items() for part in header))
        lines.append("\t".join(fields) + "\n")
    (folder / "index").write_text("".join(lines), encoding="utf-8")
