"""The command line of the benchmarks."""

from __future__ import annotations

import subprocess
import sys

from typer.testing import CliRunner

from benchmarks.__main__ import SCENARIOS, app
from models.offline.predict import MAX_BATCH_SIZE


def test_names_of_scenarios_are_unique() -> None:
    names = [scenario.name for scenario in SCENARIOS]
    assert len(set(names)) == len(names)


def test_folder_with_a_single_batch_is_a_usage_error() -> None:
    assert CliRunner().invoke(app, ["folder", "--count", str(MAX_BATCH_SIZE)]).exit_code == 2


def test_unknown_peer_is_a_usage_error() -> None:
    assert CliRunner().invoke(app, ["peers", "--only", "flask"]).exit_code in (1, 2)  # 1: wrk is not installed


def test_without_wrk_a_single_line_says_how_to_install_it() -> None:
    command = [sys.executable, "-m", "benchmarks", "latency"]
    process = subprocess.run(command, env={"PATH": "/nowhere"}, capture_output=True, text=True)
    assert process.returncode == 1
    assert process.stderr == "wrk is needed for this and not installed. On Debian and Ubuntu: apt-get install wrk\n"
