"""Closed-loop load with wrk (github.com/wg/wrk): each connection has one request in flight.

The script `post.lua` gives wrk the requests and prints the result as JSON.
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
_REQUEST_TIMEOUT_S = 120
_EXIT_TIMEOUT_S = 60  # for wrk to end after the load and the last request


class WrkMissing(Exception):
    """wrk is not installed; the message says how to install it."""

    def __init__(self) -> None:
        super().__init__("wrk is needed for this and not installed. On Debian and Ubuntu: apt-get install wrk")


@dataclass(frozen=True)
class ClosedLoopResult:
    """Result of a closed loop.

    Attributes:
        answers: responses with status 2xx.
        rejected: responses with another status.
        failed: requests without a response.
        seconds: duration of the load.
        p50_s: median latency in seconds.
        p99_s: 99th percentile of the latency in seconds.
    """

    successes: int
    rejected: int
    failed: int
    seconds: float
    p50_s: float
    p99_s: float

    @property
    def rate(self) -> float:
        """Successful responses per second."""
        return self.successes / self.seconds


def find_wrk() -> str:
    """Return the path of wrk.

    Raises:
        WrkMissing: it is not installed.
    """
    path = shutil.which("wrk")
    if path is None:
        raise WrkMissing
    return path


def run(
    url: str, requests: Sequence[Request], connections: int, seconds: float, allow_rejections: bool = False
) -> ClosedLoopResult:
    """Send requests in rotation for some seconds.

    Args:
        url: address of the server.
        requests: to send in rotation.
        connections: each with one request in flight.
        seconds: duration of the load, rounded to whole seconds.
        allow_rejections: accept responses other than 2xx. By default they are an error, because a rejection is
            faster than a classification.

    Raises:
        WrkMissing: wrk is not installed.
        RuntimeError: wrk failed, a request got no response, none succeeded, or a request was rejected.
    """
    with tempfile.TemporaryDirectory() as folder:
        _write_requests(requests, Path(folder))
        command = [find_wrk(), "-t", "1", "-c", str(connections), "-d", f"{max(1, round(seconds))}s"]
        command += ["--timeout", f"{_REQUEST_TIMEOUT_S}s", "--script", str(_SCRIPT), url, "--", folder]
        timeout_s = seconds + _REQUEST_TIMEOUT_S + _EXIT_TIMEOUT_S
        process = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s)
    json_lines = [line for line in process.stdout.splitlines() if line.startswith("{")]
    if process.returncode or not json_lines:
        raise RuntimeError(f"wrk failed: {process.stderr or process.stdout}")
    counts = json.loads(json_lines[-1])
    result = ClosedLoopResult(successes=counts.pop("responses") - counts["rejected"], **counts)
    if result.failed or not result.successes:
        raise RuntimeError(f"Requests failed: {result}")
    if result.rejected and not allow_rejections:
        raise RuntimeError(f"The server rejected {result.rejected} requests and accepted {result.successes}.")
    return result


def _write_requests(requests: Sequence[Request], folder: Path) -> None:
    """Write each body to a file, and the index that `post.lua` reads."""
    lines = []
    for number, request in enumerate(requests):
        (folder / str(number)).write_bytes(request.body)
        fields = (str(number), request.path, *(part for header in request.all_headers.items() for part in header))
        lines.append("\t".join(fields) + "\n")
    (folder / "index").write_text("".join(lines), encoding="utf-8")
