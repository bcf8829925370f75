"""Our server and its peers: how to start each, how to send an image, and how to read the response."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import process
from benchmarks.harness.environment import environment_python
from benchmarks.harness.server import CLASSIFY_PATH, serve
from benchmarks.harness.workload import Workload
from benchmarks.load.request import Request, multipart_request
from benchmarks.peers.model import Setup, setup_variables

_FOLDER = Path(__file__).parent
_READY_TIMEOUT_S = 30
_OK = 200


@dataclass(frozen=True)
class Prediction:
    """A contender's label for an image, and the engine that computed it."""

    label: str
    engine: str


@dataclass(frozen=True, eq=False)
class Contender:
    """A server that takes part in the comparison.

    Attributes:
        name: shown in the report.
        start: Start the server and return its URL; a context manager that stops it.
        request: Build the request for an encoded image.
        read: Read the body of a response.
        shares_engine: True if it must run the engine that our server runs.
    """

    name: str
    start: Callable[[Workload], AbstractContextManager[str]]
    request: Callable[[bytes], Request]
    read: Callable[[bytes], Prediction]
    shares_engine: bool


@dataclass(frozen=True)
class Peer:
    """Another model server.

    Attributes:
        folder: beside this module, with a lock file and a module `server`; also the peer's name.
        command: Build the command that starts it, from the Python interpreter of its environment and a port.
        request: Build the request for an encoded image.
        variables: its environment variables.
    """

    folder: str
    command: Callable[[Path, int], Sequence[str | Path]]
    request: Callable[[bytes], Request]
    variables: Mapping[str, str]

    @property
    def lock(self) -> Path:
        """Lock file of its environment."""
        return _FOLDER / self.folder / "requirements.lock"


def _module_command(folder: str, *options: str) -> Callable[[Path, int], Sequence[str | Path]]:
    """Run the peer's module with the port as last argument."""
    return lambda python, port: [python, "-m", f"benchmarks.peers.{folder}.server", *options, str(port)]


def _bentoml_command(python: Path, port: int) -> Sequence[str | Path]:
    service = "benchmarks.peers.bentoml.server:Classifier"
    return [python, "-m", "bentoml", "serve", service, "--host", "127.0.0.1", "--port", str(port)]


def _jpeg_body(path: str) -> Callable[[bytes], Request]:
    return lambda data: Request(path, data, "image/jpeg")


def _multipart_body(path: str, field: str) -> Callable[[bytes], Request]:
    return lambda data: multipart_request(path, [data], field)


PEERS = (
    Peer("litserve", _module_command("litserve"), _multipart_body("/predict", "request"), {}),
    Peer("bentoml", _bentoml_command, _multipart_body("/classify", "images"), {"BENTOML_DO_NOT_TRACK": "True"}),
    Peer("rayserve", _module_command("rayserve"), _jpeg_body("/"), {"RAY_USAGE_STATS_ENABLED": "0"}),
    Peer("mosec", _module_command("mosec", "--timeout", "120000", "--port"), _jpeg_body("/inference"), {}),
)


def our_server() -> Contender:
    """Return our server with its default settings."""

    @contextmanager
    def start(workload: Workload) -> Iterator[str]:
        with serve(workload) as server:
            yield server.url

    def read(body: bytes) -> Prediction:
        return Prediction(json.loads(body)["predictions"][0]["label"], "")

    return Contender("ours", start, _jpeg_body(CLASSIFY_PATH), read, shares_engine=False)


def peer_contender(peer: Peer, setup: Setup, cache: Path) -> Contender:
    """Return a peer in one of its setups; its environment is made in the cache at the first start."""

    @contextmanager
    def start(workload: Workload) -> Iterator[str]:
        port = process.free_port()
        python = environment_python(peer.lock, cache)
        variables = {
            **setup_variables(workload.store, workload.model, setup),
            **peer.variables,
            "PYTHONUNBUFFERED": "1",
            "BENTOML_HOME": str(cache.resolve() / "bentoml"),
            # Workers need this project's packages and the environment's programs, whatever their working directory.
            "PYTHONPATH": str(process.ROOT),
            "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
        }
        probe = peer.request(workload.images[0])
        command = peer.command(python, port)
        with process.run_server(command, lambda: _answers(port, probe), port, variables) as server_process:
            yield server_process.url

    def read(body: bytes) -> Prediction:
        result = json.loads(body)
        result = result[0] if isinstance(result, list) else result
        return Prediction(result["label"], result["engine"])

    return Contender(f"{peer.folder} ({setup})", start, peer.request, read, setup is Setup.OUR_ENGINE)


def _answers(port: int, probe: Request) -> bool:
    """Return True if an image is classified: a peer that accepts connections may still be loading its model."""
    url = f"http://127.0.0.1:{port}{probe.path}"
    request = urllib.request.Request(url, probe.body, probe.all_headers)
    try:
        with urllib.request.urlopen(request, timeout=_READY_TIMEOUT_S) as response:
            return bool(response.status == _OK)
    except OSError:  # no connection yet, or an error response
        return False
