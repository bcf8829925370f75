"""Proof of artifacts in another process (`proof_worker`), before a running server loads them itself.

Only what loads there without a crash, within limits of time and memory, and reproduces its golden outputs is proved.
The server then loads exactly the proved bytes: the proof names the digest of the manifest, which lists the digests of
all files, and every file is verified again when it is read.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from models.artifacts.catalog import Catalog, key_of
from models.artifacts.store import ClassifierArtifact, ExtractorArtifact, Store
from models.engines.selection import EngineSelection
from models.errors import ArtifactError, ArtifactsRejected, ModelNotFound, ModelsError
from models.manifests import ClassifierManifest, ExtractorManifest

# The processor time is limited, too (`proof_worker`): these limits are for what waits.
_HEAD_TIMEOUT_S, _EXTRACTOR_TIMEOUT_S = 120.0, 1_800.0
WORKER_COMMAND = (sys.executable, "-m", "models.artifacts.proof_worker")
_MAX_CRASHES = 5  # each costs the start of a process and up to its limits
_ENVIRONMENT = ("PATH", "LANG", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE")
"""Variables that the process gets; it must not see the server's settings and keys."""
_ERRORS = {error.code: error for error in ArtifactError.__subclasses__() if error is not ArtifactsRejected}
_CAUSES = {
    signal.SIGXCPU: "loading it takes too long",
    signal.SIGKILL: "loading it takes too long, or memory is short",
}


@dataclass(frozen=True)
class _Candidate:
    """An artifact to prove; for a classifier, with the width of the extractor output that its head consumes."""

    artifact: ExtractorArtifact | ClassifierArtifact
    key: str
    features: int | None = None

    @property
    def timeout_s(self) -> float:
        return _EXTRACTOR_TIMEOUT_S if self.features is None else _HEAD_TIMEOUT_S


def prove_changes(store: Store, selection: EngineSelection, previous: Catalog) -> frozenset[str]:
    """Prove all artifacts of a store that are not loaded yet.

    Args:
        store: the changed store.
        selection: allowed engines.
        previous: the loaded classifiers.

    Returns:
        The keys (`catalog.key_of`) of the proved artifacts.

    Raises:
        ArtifactsRejected: lists every artifact that cannot be loaded.
    """
    rejected: list[ModelsError] = []
    candidates = _candidates(store, previous, rejected)
    rejected += _prove(candidates, selection)
    if rejected:
        raise ArtifactsRejected(rejected)
    return frozenset(candidate.key for candidate in candidates)


def _candidates(store: Store, previous: Catalog, rejected: list[ModelsError]) -> list[_Candidate]:
    loaded = {key_of(classifier.manifest) for classifier in previous.classifiers}
    loaded |= {key_of(extractor.manifest) for extractor in previous.extractors}
    extractors = store.scan(ExtractorManifest, rejected)
    candidates = [_Candidate(artifact, key_of(artifact.manifest)) for artifact in extractors]
    for classifier in store.scan(ClassifierManifest, rejected):
        try:
            outputs = store.extractor_of(classifier, extractors).manifest.outputs
        except ModelNotFound as error:
            rejected.append(error)
        else:
            features = outputs[classifier.manifest.extractor.output]
            candidates.append(_Candidate(classifier, key_of(classifier.manifest), features))
    return [candidate for candidate in candidates if candidate.key not in loaded]


def _prove(candidates: Sequence[_Candidate], selection: EngineSelection) -> list[ArtifactError]:
    """Prove artifacts one after the other in one process, and the others in a new one if it ends; return the errors."""
    errors: list[ArtifactError] = []
    remaining, crashes = list(candidates), 0
    while remaining and crashes < _MAX_CRASHES:
        with _Worker(selection) as worker:
            while remaining and not worker.has_ended:
                if error := worker.prove(remaining.pop(0)):
                    errors.append(error)
            crashes += worker.has_ended
    if remaining:
        errors.append(
            ArtifactError(f"{len(remaining)} more artifacts were not loaded, because {crashes} others ended the proof.")
        )
    return errors


class _Worker:
    """A running `proof_worker`."""

    def __init__(self, selection: EngineSelection) -> None:
        self._selection = asdict(selection)
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        self._process = subprocess.Popen(
            WORKER_COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=Path(__file__).parents[2],
            env=environment | {"OPENBLAS_NUM_THREADS": "1", "TF_FORCE_GPU_ALLOW_GROWTH": "true"},
            process_group=0,  # Ctrl+C must reach only the server
        )
        self.has_ended = False

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.kill()
        with suppress(OSError):  # of what could not be written
            self._process.communicate()

    def prove(self, candidate: _Candidate) -> ArtifactError | None:
        """Prove an artifact; sets `has_ended` if the process ends over it."""
        folder = candidate.artifact.folder
        request = {
            "folder": str(folder),
            "key": candidate.key,
            "features": candidate.features,
            "selection": self._selection,
        }
        answer = self._ask(json.dumps(request).encode() + b"\n", candidate.timeout_s)
        if not answer.endswith(b"\n"):
            self.has_ended = True
            return ArtifactError(
                f"Cannot load {candidate.artifact.label} in {folder}: {self._cause()}. Do not trust its source; "
                "remove the folder."
            )
        error: dict[str, Any] | None = json.loads(answer)
        return None if error is None else _ERRORS.get(error["code"], ArtifactError)(error["message"])

    def _ask(self, request: bytes, timeout_s: float) -> bytes:
        """Write a line and read one; returns less than a line if the process ends, at the latest after `timeout_s`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        timer = threading.Timer(timeout_s, self._process.kill)
        timer.start()
        try:
            self._process.stdin.write(request)
            self._process.stdin.flush()
            return self._process.stdout.readline()
        except BrokenPipeError:
            return b""
        finally:
            timer.cancel()
            timer.join()

    def _cause(self) -> str:
        code = self._process.wait()
        if code >= 0:
            return f"a process that loaded it ended with exit code {code}"
        number = signal.Signals(-code)
        return _CAUSES.get(number, f"a process that loaded it crashed ({number.name})")
