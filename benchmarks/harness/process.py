"""Servers in processes of their own: started, waited for until they answer, and ended with all that they started."""

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
_END_S = 20
_SHOWN = 3000


@dataclass(frozen=True)
class Server:
    """One that answers."""

    url: str
    process: subprocess.Popen[bytes]
    start_s: float
    """From the start of the process until it was ready."""


@contextmanager
def running(
    command: Sequence[str | Path],
    is_ready: Callable[[], bool],
    port: int,
    variables: Mapping[str, str],
    timeout_s: float = 600,
) -> Iterator[Server]:
    """Start a server, and end it afterwards.

    Args:
        command: and its arguments; run in the project's folder.
        is_ready: whether it answers.
        port: that it will listen on.
        variables: of its environment, beside this process's.
        timeout_s: for it to be ready.

    Raises:
        RuntimeError: it ended, or was not ready in time; with the end of what it wrote.
    """
    url, began = f"http://127.0.0.1:{port}", time.monotonic()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **variables}, stdout=log, stderr=log, start_new_session=True
        )
        try:
            while not is_ready():
                if process.poll() is not None or time.monotonic() > began + timeout_s:
                    log.seek(0)
                    end = log.read()[-_SHOWN:].decode(errors="replace")
                    raise RuntimeError(f"{command} is not ready after {time.monotonic() - began:.0f} s:\n{end}")
                time.sleep(_POLL_S)
            yield Server(url, process, time.monotonic() - began)
        finally:
            _end(process)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)  # the workers of a peer are ended by it in its own way
    with suppress(subprocess.TimeoutExpired):
        process.wait(_END_S)
    with suppress(ProcessLookupError):  # whoever it left behind in its group
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def children(pid: int) -> list[int]:
    """Processes that a process has started and that run; none where /proc does not tell (it is Linux's)."""
    listed = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for each in listed for child in each.read_text(encoding="ascii").split()]


def private_bytes(pid: int) -> int:
    """Memory that a process shares with no other one."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))
