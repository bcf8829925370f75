"""A killed fit resumes from its last checkpoint and ends with exactly the same result."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import tiny_fit
from training.network.history import HistoryRecord
from training.runtime.folders import PROJECT


def _records(file: Path) -> list[HistoryRecord]:
    return [
        HistoryRecord.model_validate_json(line).model_copy(update={"images_per_second": None})
        for line in file.read_text().splitlines()
    ]


@pytest.mark.timeout(300)  # a process that loads TensorFlow, and its forks: half a minute on a busy machine
def test_killed_fit_resumes_to_the_same_result(tmp_path: Path) -> None:
    tiny_fit.write(tmp_path / "data")
    command = [sys.executable, "-m", "tests.support.fit_process", str(tmp_path / "data"), str(tmp_path)]
    process = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    assert _records(tmp_path / "at_kill.jsonl")[-1].step == 19

    resumed = _records(tiny_fit.history_file(tmp_path / "killed"))
    assert [record.step for record in resumed] == [0, 10, 19, 20, 28]
    assert resumed == _records(tiny_fit.history_file(tmp_path / "uninterrupted"))
    output = (tmp_path / "resumed.txt").read_text().splitlines()
    assert any("Resuming from the checkpoint after step 10 of 28" in line for line in output)
    expected = (tmp_path / "uninterrupted.txt").read_text().splitlines()
    assert output[-2:] == expected[-2:], "the same pass and the same weights are kept"
