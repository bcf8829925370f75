"""Server processes: start, wait until ready, and stop with all child processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_POLL_S = 0.02
_STOP_TIMEOUT_S = 20
_SHOWN_BYTES = 3000  # of the log of a server that does not start


@dataclass(frozen=True)
class ServerProcess:
    """A running server.

    Attributes:
        url: its address.
        process: the process that was started.
        start_s: seconds from the start of the process until it was ready.
    """

    url: str
    process: subprocess.Popen[bytes]
    start_s: float


@contextmanager
def run_server(
    command: Sequence[str | Path],
    is_ready: Callable[[], bool],
    port: int,
    variables: Mapping[str, str],
    timeout_s: float = 600,
) -> Iterator[ServerProcess]:
    """Start a server in the project's folder, and stop it with its child processes afterwards.

    Args:
        command: program and arguments.
        is_ready: returns True once the server responds.
        port: that the server listens on.
        variables: added to this process's environment variables.
        timeout_s: longest wait until it is ready.

    Raises:
        RuntimeError: the server ended or was not ready in time; the message has the end of its log.
    """
    url, start = f"http://127.0.0.1:{port}", time.monotonic()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **variables}, stdout=log, stderr=log, start_new_session=True
        )
        try:
            while not is_ready():
                if process.poll() is not None or time.monotonic() > start + timeout_s:
                    log.seek(0)
                    log_end = log.read()[-_SHOWN_BYTES:].decode(errors="replace")
                    raise RuntimeError(f"{command} is not ready after {time.monotonic() - start:.0f} s:\n{log_end}")
                time.sleep(_POLL_S)
            yield ServerProcess(url, process, time.monotonic() - start)
        finally:
            _stop(process)


def free_port() -> int:
    """Return a free TCP port of this machine."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)  # lets a server stop its workers itself
    with suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_TIMEOUT_S)
    with suppress(ProcessLookupError):  # the group is empty if all child processes ended too
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def child_pids(pid: int) -> list[int]:
    """Return the process IDs of a process's children; none on systems without Linux's /proc."""
    files = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for file in files for child in file.read_text(encoding="ascii").split()]


def private_bytes(pid: int) -> int:
    """Return the memory that a process shares with no other process (Linux)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))
