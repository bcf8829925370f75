"""`python -m tests.support.fit_process DATA FOLDER`: one fit without interruption, and one that is killed and resumed.

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
from models.console.progress import silent
from models.manifests import sha256
from tests.support import tiny_fit
from tests.support.killed import kill_at
from training.network.fit import fit_network


def fit(data: Path, cache: Path) -> None:
    """Run the tiny fit, and print its log and a digest of its weights."""
    # Parts run operations in parallel, which must not change the results.
    network = tiny_fit.network(parts=2, stop={"measure": "log_loss", "patience": 3})
    result = fit_network(network, 7, tiny_fit.load(data), None, cache, silent, print)
    print(sha256(networks.to_bytes(result.tensors)), flush=True)


def start(data: Path, cache: Path, output: Path, kill_at_open: str = "") -> int:
    """Start a fit in a fork and return its process ID; it kills itself when it opens a file of this name."""
    if pid := os.fork():
        return pid
    status = 1
    try:
        os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT, 0o600), sys.stdout.fileno())
        if kill_at_open:
            kill_at("open", kill_at_open, 1)
        fit(data, cache)
        status = 0
    finally:
        os._exit(status)


def main(data: Path, folder: Path) -> None:
    uninterrupted = start(data, folder / "uninterrupted", folder / "uninterrupted.txt")
    # When it writes the checkpoint of the second pass, after its record was written.
    killed = start(data, folder / "killed", folder / "killed.txt", "000000019.checkpoint")
    _, status = os.waitpid(killed, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    (folder / "at_kill.jsonl").write_bytes(tiny_fit.history_file(folder / "killed").read_bytes())
    resumed = start(data, folder / "killed", folder / "resumed.txt")
    for pid in (uninterrupted, resumed):
        assert os.waitpid(pid, 0)[1] == 0


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
