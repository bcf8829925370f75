"""`python -m tests.support.fit_process KIND DATA FOLDER`: one fit without interruption, one that is killed and resumed.

KIND is `labelled` (the tiny fit with early stopping) or `taught` (without labels, by the teacher in DATA/store, with an
average of the weights and with steps that are skipped).

Writes to FOLDER/uninterrupted and FOLDER/killed, and the output of each process to FOLDER/NAME.txt. Each fit is a fork
of this process, so that TensorFlow, which takes seconds to import, is imported once.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import training.network.trainer  # noqa: F401 - imports TensorFlow before the forks
from models import networks
from models.artifacts.store import Store
from models.console.progress import silent
from models.manifests import sha256
from tests.support import taught_fit, tiny_fit
from tests.support.killed import kill_at
from training.network.fit import FitResult, fit_network
from training.network.teacher import load_teacher


def fit_labelled(data: Path, cache: Path) -> FitResult:
    # Parts run operations in parallel, which must not change the results.
    network = tiny_fit.network(parts=2, stop={"measure": "log_loss", "patience": 3})
    return fit_network(network, 7, tiny_fit.load(data), None, cache, silent, print)


def fit_taught(data: Path, cache: Path) -> FitResult:
    networks._BUILDERS["with_root"] = taught_fit.network_with_root
    network = taught_fit.network(architecture="with_root", passes=2, parts=2, ema_momentum=0.9)
    teacher = load_teacher(taught_fit.TAUGHT_BY, Store(data / "store"))
    return fit_network(network, 7, [taught_fit.load(data)], None, cache, silent, print, teacher)


#: Of each kind, the function, and the checkpoint at which it is killed, after its record was written.
KINDS = {"labelled": (fit_labelled, "000000019.checkpoint"), "taught": (fit_taught, "000000020.checkpoint")}


def start(kind: str, data: Path, cache: Path, output: Path, kill_at_open: str = "") -> int:
    """Start a fit in a fork and return its process ID; it kills itself when it opens a file of this name.

    It prints its log and a digest of its weights.
    """
    if pid := os.fork():
        return pid
    status = 1
    try:
        os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT, 0o600), sys.stdout.fileno())
        if kill_at_open:
            kill_at("open", kill_at_open, 1)
        fit, _ = KINDS[kind]
        print(sha256(networks.to_bytes(fit(data, cache).tensors)), flush=True)
        status = 0
    finally:
        os._exit(status)


def main(kind: str, data: Path, folder: Path) -> None:
    uninterrupted = start(kind, data, folder / "uninterrupted", folder / "uninterrupted.txt")
    killed = start(kind, data, folder / "killed", folder / "killed.txt", KINDS[kind][1])
    _, status = os.waitpid(killed, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    (folder / "at_kill.jsonl").write_bytes(tiny_fit.history_file(folder / "killed").read_bytes())
    resumed = start(kind, data, folder / "killed", folder / "resumed.txt")
    for pid in (uninterrupted, resumed):
        assert os.waitpid(pid, 0)[1] == 0


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
