"""`python -m tests.support.faulty_proof_worker`: the process that proves artifacts, with a fault for each name."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from models.artifacts import catalog, proof_worker
from models.artifacts.store import ClassifierArtifact
from models.heads import Head

CPU_S = 3
load_head = catalog.load_head


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def compute_forever() -> None:
    while True:
        pass


def wait_forever() -> None:
    """Write a line to standard error first, by which a test knows that the artifact is being loaded."""
    print("waiting", file=sys.stderr, flush=True)
    time.sleep(1000)


def use_all_memory() -> None:
    held = []
    while True:
        held.append(bytes(100_000_000))


def leave() -> None:
    os._exit(3)


def print_and_succeed() -> None:
    print("a library prints this")
    sys.stdout.flush()


def report_environment() -> None:
    """Fail with the names of the environment variables and the limits, that of data without what is used already."""
    cpu_s, data_bytes, core_bytes = (
        resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_CPU, resource.RLIMIT_DATA, resource.RLIMIT_CORE)
    )
    limits = [cpu_s, data_bytes - proof_worker._used_data_bytes(), core_bytes]
    raise RuntimeError(f"{sorted(os.environ)} {limits} {os.nice(0)} {Path.cwd()}")


FAULTS: dict[str, Callable[[], None]] = {
    "crashes": crash,
    "computes": compute_forever,
    "waits": wait_forever,
    "grows": use_all_memory,
    "leaves": leave,
    "prints": print_and_succeed,
    "reports": report_environment,
}


def load_with_fault(artifact: ClassifierArtifact, features: int) -> Head:
    """Load a head after the fault that its name stands for."""
    FAULTS.get(artifact.manifest.name.rstrip("0123456789"), lambda: None)()
    return load_head(artifact, features)


if __name__ == "__main__":
    catalog.load_head = load_with_fault
    proof_worker._HEAD_CPU_S = CPU_S
    proof_worker.main()
