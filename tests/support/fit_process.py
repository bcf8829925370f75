"""`python -m tests.support.fit_process DATA CACHE`: run the tiny fit, and print its log and a digest of its weights."""

from __future__ import annotations

import sys
from pathlib import Path

from models import networks
from models.console.progress import silent
from models.manifests import sha256
from tests.support import tiny_fit
from training.network.fit import fit_network


def main(data: Path, cache: Path) -> None:
    # Parts run operations in parallel, which must not change the results.
    network = tiny_fit.network(parts=2, stop={"measure": "log_loss", "patience": 3})
    result = fit_network(network, 7, tiny_fit.load(data), None, cache, silent, print)
    print(sha256(networks.to_bytes(result.tensors)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
