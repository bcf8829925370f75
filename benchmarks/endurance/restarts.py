"""Shutdown and restart at full load.

SIGTERM must lose no request, kill -9 must not delay the next start, and neither may leave a file behind.
"""

from __future__ import annotations

import signal
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.endurance.shutdown_client import ShutdownResult, run_until_exit
from benchmarks.harness.process import free_port
from benchmarks.harness.report import Figure, Measurement, machine_facts
from benchmarks.harness.scenario import Scenario
from benchmarks.harness.server import ServerUnderTest, check_answers, classify_requests, serve
from benchmarks.harness.workload import Workload, make_workload
from benchmarks.load.http_client import encode_request
from benchmarks.options import DEFAULT_CACHE, ConnectionsOption, ImageSize, InputSize
from models.console.progress import Track, silent, track

MAX_RESTART_RATIO = 1.1
_LOAD_S = 2.0
_EXIT_TIMEOUT_S = 60


def run(
    count: Annotated[int, typer.Option(min=1, help="Number of shutdowns by SIGTERM.")] = 20,
    kills: Annotated[int, typer.Option(min=1, help="Number of shutdowns by kill -9.")] = 5,
    connections: ConnectionsOption = 32,
) -> Measurement:
    """SIGTERM and kill -9 at full load: lost requests, startup time afterwards, and files left behind."""
    workload = make_workload(InputSize.SHIPPED, ImageSize.WEB, DEFAULT_CACHE)
    return measure(workload, count, kills, connections, track)


SCENARIO = Scenario("restarts", run)


def measure(
    workload: Workload, count: int, kills: int, clients: int, show_progress: Track = silent, load_s: float = _LOAD_S
) -> Measurement:
    """Shut the server down repeatedly, each time after `load_s` seconds of a closed loop.

    Args:
        workload: to serve.
        count: shutdowns by SIGTERM.
        kills: shutdowns by SIGKILL.
        clients: of the closed loop.
        show_progress: shows the number of shutdowns.
        load_s: seconds of load before each shutdown.
    """
    facts = workload.facts | machine_facts()
    with (
        tempfile.TemporaryDirectory() as folder,
        show_progress("Shutting down", count + kills, "servers") as advance,
    ):
        shutdowns = _Shutdowns(workload, clients, load_s, Path(folder))
        for _ in range(count):
            shutdowns.terminate()
            advance(1)
        for _ in range(kills):
            shutdowns.kill()
            advance(1)
    facts["engine"] = shutdowns.engine
    results = shutdowns.results
    return Measurement(
        f"{count} SIGTERM and {kills} kill -9 under load from {clients} connections: {workload.title}",
        [
            Figure("answered requests", [sum(result.answered for result in results)]),
            Figure("rejected with 503 and Retry-After", [sum(result.rejected for result in results)]),
            Figure("other responses", [sum(result.other for result in results)], at_most=0),
            Figure("sent before SIGTERM, not answered", [sum(result.lost for result in results)], at_most=0),
            Figure("sent after it, cut off by the exit", [sum(result.cut for result in results)]),
            Figure("exit codes other than 0", [sum(map(bool, shutdowns.exit_codes))], at_most=0),
            Figure("SIGTERM to exit", shutdowns.drain_s, "s"),
            Figure("cold start to ready", shutdowns.cold_start_s, "s"),
            Figure("start to ready after kill -9", shutdowns.restart_s, "s"),
            Figure("start after kill -9 / cold start", shutdowns.restart_ratios, at_most=MAX_RESTART_RATIO),
            Figure("files left or changed in the store and TMPDIR", [shutdowns.changed_files], at_most=0),
        ],
        facts,
    )


@dataclass
class _Shutdowns:
    """Servers started and shut down one after another on one port, with one folder for temporary files."""

    workload: Workload
    clients: int
    load_s: float
    temporary: Path
    port: int = field(default_factory=free_port)
    engine: str = ""
    results: list[ShutdownResult] = field(default_factory=list)
    exit_codes: list[int] = field(default_factory=list)
    drain_s: list[float] = field(default_factory=list)
    cold_start_s: list[float] = field(default_factory=list)
    restart_s: list[float] = field(default_factory=list)
    changed_files: int = 0

    def __post_init__(self) -> None:
        self._file_states = self._read_file_states()

    @property
    def restart_ratios(self) -> list[float]:
        """Ratios of the starts after a kill to the cold starts before it."""
        return [restart / cold for restart, cold in zip(self.restart_s, self.cold_start_s, strict=True)]

    def terminate(self) -> None:
        """Send SIGTERM at full load."""
        with serve(self.workload, **self._settings) as server:
            result = self._load_and_signal(server, signal.SIGTERM)
            self.exit_codes.append(server.server_process.process.wait(_EXIT_TIMEOUT_S))
            self.drain_s.append(time.monotonic() - result.shutdown_at_s)
        self.results.append(result)
        self._count_changed_files()

    def kill(self) -> None:
        """Send SIGKILL at full load, then start the server again."""
        with serve(self.workload, **self._settings) as server:
            self.cold_start_s.append(server.server_process.start_s)
            self._load_and_signal(server, signal.SIGKILL)
        self._count_changed_files()
        with serve(self.workload, **self._settings) as server:
            self.restart_s.append(server.server_process.start_s)
            check_answers(server.url, classify_requests(self.workload.images))
        self._count_changed_files()

    @property
    def _settings(self) -> dict[str, str]:
        return {"APP_PORT": str(self.port), "TMPDIR": str(self.temporary)}

    def _load_and_signal(self, server: ServerUnderTest, number: signal.Signals) -> ShutdownResult:
        self.engine = server.engine
        requests = classify_requests(self.workload.images)
        check_answers(server.url, requests)
        messages = [encode_request(server.url, request) for request in requests]
        process = server.server_process.process
        return run_until_exit(server.url, messages, self.clients, self.load_s, lambda: process.send_signal(number))

    def _count_changed_files(self) -> None:
        """Add the files that differ from the previous call."""
        states = self._read_file_states()
        self.changed_files += len(states ^ self._file_states)
        self._file_states = states

    def _read_file_states(self) -> set[tuple[Path, int, int]]:
        """Return path, size and modification time of the files in the store and in the temporary folder."""
        entries = [entry for root in (self.workload.store, self.temporary) for entry in root.rglob("*")]
        return {(entry, entry.stat().st_size, entry.stat().st_mtime_ns) for entry in entries if entry.is_file()}
