"""Our server and its peers, each started in its own way and asked in its own form."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import environment, process
from benchmarks.harness.server import CLASSIFY, serving
from benchmarks.harness.workload import Workload
from benchmarks.load.request import Request, form
from benchmarks.peers.model import Form, variables

_FOLDER = Path(__file__).parent
_START_TIMEOUT_S = 30


@dataclass(frozen=True)
class Answer:
    """What a contender made of a picture, and by what engine."""

    label: str
    engine: str


@dataclass(frozen=True, eq=False)
class Contender:
    """A server that can be started and asked."""

    name: str
    running: Callable[[Workload], AbstractContextManager[str]]
    """Starts it and gives its URL."""
    request: Callable[[bytes], Request]
    read: Callable[[bytes], Answer]
    shares_engine: bool
    """Whether it must run the engine that our server runs."""


@dataclass(frozen=True)
class Peer:
    """Another server: a folder here with a lock and a module `server`."""

    folder: str
    command: Callable[[Path, int], Sequence[str | Path]]
    """Its environment's interpreter and a port -> what starts it."""
    request: Callable[[bytes], Request]
    variables: Mapping[str, str]

    @property
    def lock(self) -> Path:
        """The requirements of its environment."""
        return _FOLDER / self.folder / "requirements.lock"


def _module(folder: str, *options: str) -> Callable[[Path, int], Sequence[str | Path]]:
    """Runs a peer's module with the port as its last argument."""
    return lambda python, port: [python, "-m", f"benchmarks.peers.{folder}.server", *options, str(port)]


def _bentoml(python: Path, port: int) -> Sequence[str | Path]:
    """Its own command starts it."""
    service = "benchmarks.peers.bentoml.server:Classifier"
    return [python, "-m", "bentoml", "serve", service, "--host", "127.0.0.1", "--port", str(port)]


def _raw(path: str) -> Callable[[bytes], Request]:
    return lambda data: Request(path, data, "image/jpeg")


def _form(path: str, field: str) -> Callable[[bytes], Request]:
    return lambda data: form(path, [data], field)


PEERS = (
    Peer("litserve", _module("litserve"), _form("/predict", "request"), {}),
    Peer("bentoml", _bentoml, _form("/classify", "images"), {"BENTOML_DO_NOT_TRACK": "True"}),
    Peer(
        "rayserve",
        _module("rayserve"),
        _raw("/"),
        {"RAY_USAGE_STATS_ENABLED": "0"},
    ),
    Peer("mosec", _module("mosec", "--timeout", "120000", "--port"), _raw("/inference"), {}),
)


def ours() -> Contender:
    """Our own server, as it is started by default."""

    @contextmanager
    def start(work: Workload) -> Iterator[str]:
        with serving(work) as started:
            yield started.url

    def read(body: bytes) -> Answer:
        return Answer(json.loads(body)["predictions"][0]["label"], "")

    return Contender("ours", start, _raw(CLASSIFY), read, shares_engine=False)


def contender(peer: Peer, inside: Form, cache: Path) -> Contender:
    """A peer in one of its two forms; its environment is made when it is started first."""

    @contextmanager
    def start(work: Workload) -> Iterator[str]:
        port = process.free_port()
        python = environment.python(peer.lock, cache)
        told = {**variables(work.store, work.model, inside), **peer.variables, "PYTHONUNBUFFERED": "1"}
        # Workers find this project, and the programs of the environment, wherever they are started.
        told |= {"BENTOML_HOME": str(cache.resolve() / "bentoml")}
        told |= {"PYTHONPATH": str(process.ROOT), "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}
        probe = peer.request(work.pictures[0])
        with process.running(peer.command(python, port), lambda: _answers(port, probe), port, told) as server:
            yield server.url

    def read(body: bytes) -> Answer:
        found = json.loads(body)
        found = found[0] if isinstance(found, list) else found
        return Answer(found["label"], found["engine"])

    return Contender(f"{peer.folder} ({inside})", start, peer.request, read, shares_engine=inside is Form.OURS)


def _answers(port: int, request: Request) -> bool:
    """Whether a picture is answered: a peer that listens may still be loading its network."""
    url = f"http://127.0.0.1:{port}{request.path}"
    asked = urllib.request.Request(url, request.body, request.all_headers)
    try:
        with urllib.request.urlopen(asked, timeout=_START_TIMEOUT_S) as answer:
            return bool(answer.status == 200)
    except OSError:  # nobody listens yet, or an error is answered
        return False
