"""The server under test: runs in its own process, and is observed through its metrics."""

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
from benchmarks.harness.process import ServerProcess, child_pids, free_port, private_bytes, run_server
from benchmarks.harness.workload import Workload
from benchmarks.load.request import Request, send_all

CLASSIFY_PATH = "/v1/classify"
CANCELLED_METRIC = "classifier_requests_cancelled_total"
_MB = 1e6


@dataclass(frozen=True)
class ServerUnderTest:
    """This server, ready for requests."""

    server_process: ServerProcess

    @property
    def url(self) -> str:
        """Its address."""
        return self.server_process.url

    def metric(self, name: str) -> float:
        """Return the sum of a metric over all its labels; 0 if the server does not have it."""
        return sum(sample.value for sample in self._samples() if sample.name == name)

    @property
    def resident_mb(self) -> float:
        """Resident memory of the server, and private memory of its child processes."""
        children_bytes = sum(private_bytes(child) for child in child_pids(self.server_process.process.pid))
        return (self.metric("process_resident_memory_bytes") + children_bytes) / _MB

    @property
    def engine(self) -> str:
        """`engine:precision` of its first model."""
        return next(sample.labels["engine"] for sample in self._samples() if sample.name == "classifier_model_info")

    def _samples(self) -> Iterator[Sample]:
        with urllib.request.urlopen(f"{self.url}/metrics") as response:
            for family in text_string_to_metric_families(response.read().decode()):
                yield from family.samples


def serve(
    workload: Workload, python: str | Path = sys.executable, **settings: str
) -> AbstractContextManager[ServerUnderTest]:
    """Start the server for a workload.

    Args:
        workload: to serve.
        python: interpreter that runs the server.
        settings: environment variables, in addition to those of the workload.

    Raises:
        RuntimeError: the server did not get ready.
    """
    return serve_store(workload.store, python, workload.module, APP_DEFAULT_MODEL=workload.model, **settings)


@contextmanager
def serve_store(
    store: Path, python: str | Path = sys.executable, module: str = "app", **settings: str
) -> Iterator[ServerUnderTest]:
    """Start the server on a model store with default settings, except those in `settings`.

    Raises:
        RuntimeError: the server did not get ready.
    """
    port = int(settings.get("APP_PORT") or free_port())
    inherited = {name: "" for name in os.environ if name.startswith("APP_")}  # an empty variable counts as not set
    variables = {**inherited, "APP_PORT": str(port), "APP_STORE": str(store.resolve()), **settings}
    with run_server([python, "-m", module], lambda: is_ready(port), port, variables) as server_process:
        yield ServerUnderTest(server_process)


def classify_requests(images: Sequence[bytes], query: str = "", **headers: str) -> list[Request]:
    """Build one request per JPEG image."""
    return [Request(f"{CLASSIFY_PATH}{query}", data, "image/jpeg", tuple(headers.items())) for data in images]


def check_answers(url: str, requests: Sequence[Request]) -> None:
    """Send requests and check that each response has predictions.

    Raises:
        RuntimeError: a request failed or its response has no prediction.
    """
    _, bodies = send_all(url, requests, in_flight=4)
    for response in map(json.loads, bodies):
        for result in response.get("results", [response]):
            if not result.get("predictions"):
                raise RuntimeError(f"The response has no prediction: {response}")
