"""`python -m tests.support.contract`: Schemathesis against a server process, set by contract.toml; `make contract`.

Further options are those of `st run`, such as `--max-examples 500` or `--seed 2`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from schemathesis.cli import schemathesis

from tests.support import colour_store
from tests.support.processes import server

CONFIG = Path(__file__).with_suffix(".toml")


def arguments(address: str, *options: str) -> list[str]:
    """The command line of a run against the server at `address`."""
    return ["--config-file", str(CONFIG), "run", f"{address}/openapi.json", *options]


def main(*options: str) -> None:
    """Run, print how many cases there were and what was found, and exit with 1 if there was anything."""
    with tempfile.TemporaryDirectory() as folder:
        colour_store.build(Path(folder))
        with server("tests.support.tiny_server", APP_STORE=folder) as started:
            schemathesis(arguments(started.address(), *options))


if __name__ == "__main__":
    main(*sys.argv[1:])
