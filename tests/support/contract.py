"""`python -m tests.support.contract`: run Schemathesis with contract.toml against a server process; `make contract`.

Accepts the options of `st run`, such as `--max-examples 500` or `--seed 2`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.support import colour_store
from tests.support.processes import server

CONFIG = Path(__file__).with_suffix(".toml")


def arguments(address: str, *options: str) -> list[str]:
    """Return the command line of a run against the server at `address`."""
    return ["--config-file", str(CONFIG), "run", f"{address}/openapi.json", *options]


def main(*options: str) -> None:
    """Run Schemathesis, print the number of cases and the failures, and exit with 1 after failures."""
    from schemathesis.cli import schemathesis  # takes seconds, which tests that only need the arguments are spared

    with tempfile.TemporaryDirectory() as folder:
        colour_store.build(Path(folder))
        with server("tests.support.tiny_server", APP_STORE=folder) as started:
            schemathesis(arguments(started.address(), *options))


if __name__ == "__main__":
    main(*sys.argv[1:])
