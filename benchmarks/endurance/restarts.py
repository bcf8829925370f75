"""Ends at full load: SIGTERM loses no request, kill -9 delays no start, and neither leaves a file behind."""

from __future__ import annotations

import signal
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.endurance import shutdown_client as ending
from benchmarks.endurance.shutdown_client import Met
from benchmarks.harness.process import free_port
from benchmarks.harness.report import Figure, Measurement, machine
from benchmarks.harness.server import Serving, check, classify, serving
from benchmarks.harness.workload import Workload
from benchmarks.load.http_client import message
from models.console.progress import Track, silent

READY_AGAIN = 1.1
_LOAD_S = 2.0
_EXIT_S = 60


def measure(
    work: Workload, count: int, kills: int, clients: int, track: Track = silent, load_s: float = _LOAD_S
) -> Measurement:
    """End the server so often in one way and in the other, each time after `load_s` of a closed loop."""
    facts = work.facts | machine()
    with tempfile.TemporaryDirectory() as folder, track("Ending", count + kills, "servers") as advance:
        ends = _Ends(work, clients, load_s, Path(folder))
        for _ in range(count):
            ends.terminate()
            advance(1)
        for _ in range(kills):
            ends.kill()
            advance(1)
    facts["engine"] = ends.engine
    return Measurement(
        f"{count} SIGTERM and {kills} kill -9 at {clients} connections: {work.title}",
        [
            Figure("pictures that were answered", [sum(met.answered for met in ends.met)]),
            Figure("refused with 503 and Retry-After", [sum(met.refused for met in ends.met)]),
            Figure("other answers", [sum(met.other for met in ends.met)], at_most=0),
            Figure("asked before SIGTERM, never answered", [sum(met.lost for met in ends.met)], at_most=0),
            Figure("asked after it, cut off when the process had ended", [sum(met.cut for met in ends.met)]),
            Figure("exit codes that are not 0", [sum(map(bool, ends.codes))], at_most=0),
            Figure("SIGTERM to exit", ends.drained_s, "s"),
            Figure("cold start to ready", ends.cold_s, "s"),
            Figure("start to ready after kill -9", ends.again_s, "s"),
            Figure("this over a cold start", ends.ratios, at_most=READY_AGAIN),
            Figure("files left behind or changed, in the store and in TMPDIR", [ends.left], at_most=0),
        ],
        facts,
    )


@dataclass
class _Ends:
    """One server after another, on one port and with a folder of its own for temporary files; and what was seen."""

    work: Workload
    clients: int
    load_s: float
    temporary: Path
    port: int = field(default_factory=free_port)
    engine: str = ""
    met: list[Met] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    drained_s: list[float] = field(default_factory=list)
    cold_s: list[float] = field(default_factory=list)
    again_s: list[float] = field(default_factory=list)
    left: int = 0

    def __post_init__(self) -> None:
        self._found = self._files()

    @property
    def ratios(self) -> list[float]:
        """Of the starts after a kill to the cold ones before it."""
        return [again / cold for again, cold in zip(self.again_s, self.cold_s, strict=True)]

    def terminate(self) -> None:
        """SIGTERM at full load."""
        with serving(self.work, **self._settings) as ours:
            met = self._load(ours, signal.SIGTERM)
            self.codes.append(ours.server.process.wait(_EXIT_S))
            self.drained_s.append(time.monotonic() - met.ended_s)
        self.met.append(met)
        self._look()

    def kill(self) -> None:
        """SIGKILL at full load, and the next start."""
        with serving(self.work, **self._settings) as ours:
            self.cold_s.append(ours.server.start_s)
            self._load(ours, signal.SIGKILL)
        self._look()
        with serving(self.work, **self._settings) as ours:
            self.again_s.append(ours.server.start_s)
            check(ours.url, classify(self.work.pictures))
        self._look()

    @property
    def _settings(self) -> dict[str, str]:
        return {"APP_PORT": str(self.port), "TMPDIR": str(self.temporary)}

    def _load(self, ours: Serving, number: signal.Signals) -> Met:
        self.engine = ours.engine
        requests = classify(self.work.pictures)
        check(ours.url, requests)
        messages = [message(ours.url, request) for request in requests]
        return ending.drive(
            ours.url, messages, self.clients, self.load_s, lambda: ours.server.process.send_signal(number)
        )

    def _look(self) -> None:
        """Count what is other than before, once."""
        found = self._files()
        self.left += len(found ^ self._found)
        self._found = found

    def _files(self) -> set[tuple[Path, int, int]]:
        """Of the store and of the folder for temporary files: path, size, time of change."""
        entries = [entry for root in (self.work.store, self.temporary) for entry in root.rglob("*")]
        return {(entry, entry.stat().st_size, entry.stat().st_mtime_ns) for entry in entries if entry.is_file()}
