"""The server does what its document says, as far as Schemathesis finds out; `make contract` looks longer."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.support import contract
from tests.support.paths import ROOT

LEAST_CASES = 800


@pytest.mark.timeout(400)  # some seconds, but on a machine that others keep busy it is a thousand requests all the same
def test_schemathesis_finds_nothing(tiny_address: str) -> None:
    command = contract.arguments(tiny_address, "--phases", "examples,coverage", "--no-color")
    done = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", *command], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    cases = re.search(r"(\d+) generated, \1 passed", done.stdout)
    assert cases, done.stdout
    assert int(cases[1]) >= LEAST_CASES
