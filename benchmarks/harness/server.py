"""Our server in a process of its own, and what it says of itself."""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from app.health import is_ready
from benchmarks.harness.process import Server, children, free_port, private_bytes, running
from benchmarks.harness.workload import Workload
from benchmarks.load.request import Request, send

CLASSIFY = "/v1/classify"
_MB = 1e6


@dataclass(frozen=True)
class Serving:
    """Our server, ready."""

    server: Server

    @property
    def url(self) -> str:
        """Where it answers."""
        return self.server.url

    def metric(self, name: str) -> float:
        """The sum of a metric over all its labels; 0 where it was never counted."""
        return sum(sample.value for sample in self._samples() if sample.name == name)

    @property
    def resident_mb(self) -> float:
        """The server's memory, and what the processes that it has started share with no other."""
        own = sum(private_bytes(child) for child in children(self.server.process.pid))
        return (self.metric("process_resident_memory_bytes") + own) / _MB

    @property
    def engine(self) -> str:
        """`engine:precision` of its first model, as it says itself."""
        return next(sample.labels["engine"] for sample in self._samples() if sample.name == "classifier_model_info")

    def _samples(self) -> Iterator[Sample]:
        with urllib.request.urlopen(f"{self.url}/metrics") as answer:
            for family in text_string_to_metric_families(answer.read().decode()):
                yield from family.samples


def serving(work: Workload, python: str | Path = sys.executable, **variables: str) -> AbstractContextManager[Serving]:
    """Start it for what is measured; `variables` are further settings. Raises RuntimeError if it does not get ready."""
    return started(work.store, python, work.module, APP_DEFAULT_MODEL=work.model, **variables)


@contextmanager
def started(
    store: Path, python: str | Path = sys.executable, module: str = "app", **variables: str
) -> Iterator[Serving]:
    """Start it on a store; `variables` are its settings. Raises RuntimeError if it does not get ready."""
    port = int(variables.get("APP_PORT") or free_port())
    settings = {"APP_PORT": str(port), "APP_STORE": str(store.resolve()), **variables}
    inherited = {name: "" for name in os.environ if name.startswith("APP_")}  # empty: as if it were not there
    with running([python, "-m", module], lambda: is_ready(port), port, {**inherited, **settings}) as server:
        yield Serving(server)


def classify(pictures: Sequence[bytes], query: str = "", **headers: str) -> list[Request]:
    """A request for each picture."""
    return [Request(f"{CLASSIFY}{query}", data, "image/jpeg", tuple(headers.items())) for data in pictures]


def check(url: str, requests: Sequence[Request]) -> None:
    """Every one of these is answered with a prediction; raises RuntimeError."""
    _, answers = send(url, requests, in_flight=4)
    for answer in map(json.loads, answers):
        for found in answer.get("results", [answer]):
            if not found.get("predictions"):
                raise RuntimeError(f"No prediction came: {answer}")
