"""The server conforms to its OpenAPI document, checked with Schemathesis; `make contract` checks more cases."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.support import contract
from tests.support.paths import ROOT

MIN_CASES = 800


@pytest.mark.timeout(400)  # takes seconds; a busy machine needs more time for the thousand requests
def test_server_conforms_to_its_openapi_document(tiny_address: str) -> None:
    command = contract.arguments(tiny_address, "--phases", "examples,coverage", "--no-color")
    done = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", *command], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    cases = re.search(r"(\d+) generated, \1 passed", done.stdout)
    assert cases, done.stdout
    assert int(cases[1]) >= MIN_CASES
