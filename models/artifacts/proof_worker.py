"""Process that loads artifacts before a server does: `python -m models.artifacts.proof_worker`.

    stdin: one JSON object per line, an artifact ──▶ stdout: one JSON object per line, its error or none

Damaged bytes can make a library crash, run forever or use all memory. Here that ends only this process. It ends, too,
when its standard input does, so that none is left behind when the server is killed.
"""

from __future__ import annotations

import json
import math
import os
import queue
import resource
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from models.artifacts import catalog
from models.artifacts.catalog import key_of
from models.artifacts.store import read_artifact
from models.engines.selection import EngineSelection
from models.errors import ArtifactError, CorruptArtifact
from models.manifests import ClassifierManifest, ExtractorManifest

_GIB = 2**30
# Of all threads together, beyond what was used before. A head of 1,000 trees takes .2 s, most of it to import XGBoost;
# the network of 96 px compiles in 2 s with OpenVINO and in 20 s with TensorFlow.
_HEAD_CPU_S, _EXTRACTOR_CPU_S = 30, 1_800
# Data segments, beyond those before: unlike the address space, they leave out what libraries reserve and never use.
_HEAD_BYTES, _EXTRACTOR_BYTES = 2 * _GIB, 16 * _GIB

_NICENESS = 10  # below the threads of the server
_STATM_DATA = 5  # proc(5): data and stack, in pages
_OOM_SCORE = "1000"  # if memory is short, the kernel kills this process before the server


def main() -> None:
    """Answer every request; libraries that print do not disturb the answers."""
    output = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    _lower_priority()
    for request in _requests():
        error = _prove(**request)
        output.write(json.dumps(None if error is None else {"code": error.code, "message": str(error)}) + "\n")
        output.flush()


def _requests() -> Iterator[dict[str, Any]]:
    """Yield requests; ends the process at the end of standard input, even while a request is being handled."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin:
            lines.put(line)
        os._exit(0)

    threading.Thread(target=read, name="requests", daemon=True).start()
    while True:
        yield json.loads(lines.get())


def _prove(folder: str, key: str, features: int | None, selection: dict[str, Any]) -> ArtifactError | None:
    """Load an artifact and replay its golden outputs.

    Args:
        folder: of the artifact.
        key: `key_of` its manifest.
        features: for a classifier, the width of the extractor's output; None: the artifact is an extractor.
        selection: fields of the EngineSelection.
    """
    try:
        if features is None:
            extractor = read_artifact(Path(folder), ExtractorManifest)
            _require_unchanged(extractor.folder, key, key_of(extractor.manifest))
            _set_limits(_EXTRACTOR_CPU_S, _EXTRACTOR_BYTES)
            catalog.load_extractor(extractor, EngineSelection(**selection))
        else:
            classifier = read_artifact(Path(folder), ClassifierManifest)
            _require_unchanged(classifier.folder, key, key_of(classifier.manifest))
            _set_limits(_HEAD_CPU_S, _HEAD_BYTES)
            catalog.load_head(classifier, features)
    except ArtifactError as error:
        return error
    except MemoryError:
        return ArtifactError(f"Cannot load {folder}: it needs more memory than allowed. Remove the folder.")
    except Exception as error:
        return ArtifactError(f"Cannot load {folder}: {type(error).__name__}: {error}. Install it again.")
    return None


def _require_unchanged(folder: Path, expected: str, actual: str) -> None:
    if actual != expected:
        raise CorruptArtifact(f"Cannot load {folder}: it changes at present.")


def _set_limits(cpu_s: int, data_bytes: int) -> None:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    limits = {
        resource.RLIMIT_CPU: math.ceil(usage.ru_utime + usage.ru_stime) + cpu_s,
        resource.RLIMIT_DATA: _used_data_bytes() + data_bytes,
        resource.RLIMIT_CORE: 0,
    }
    for kind, limit in limits.items():
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def _used_data_bytes() -> int:
    with suppress(OSError):  # only on Linux
        return int(Path("/proc/self/statm").read_text().split()[_STATM_DATA]) * resource.getpagesize()
    return 0


def _lower_priority() -> None:
    os.nice(_NICENESS)
    with suppress(OSError):  # only on Linux
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE)


if __name__ == "__main__":
    main()
