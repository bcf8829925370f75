"""A killed fit resumes from its last checkpoint and ends with exactly the same result."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import tiny_fit
from training.network.history import HISTORY_FILE, HistoryRecord
from training.runtime.folders import PROJECT

#: Kills the process when it writes the checkpoint of the second pass, after its record was written.
_KILL_AT_CHECKPOINT = ["tests.support.killed", "open", "000000019.checkpoint", "1"]


def _start_fit(data: Path, cache: Path, *wrapper: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", *wrapper, "tests.support.fit_process", str(data), str(cache)]
    return subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)


def _history(cache: Path) -> list[HistoryRecord]:
    (file,) = (cache / "fits").glob(f"*/{HISTORY_FILE}")
    return [
        HistoryRecord.model_validate_json(line).model_copy(update={"images_per_second": None})
        for line in file.read_text().splitlines()
    ]


@pytest.mark.timeout(300)  # three processes that load TensorFlow: ten seconds each, more on a busy machine
def test_killed_fit_resumes_to_the_same_result(tmp_path: Path) -> None:
    tiny_fit.write(tmp_path)
    with (
        _start_fit(tmp_path, tmp_path / "a") as uninterrupted,
        _start_fit(tmp_path, tmp_path / "b", *_KILL_AT_CHECKPOINT) as killed,
    ):
        expected, _ = uninterrupted.communicate()
        killed.communicate()
    assert uninterrupted.returncode == 0
    assert killed.returncode == -signal.SIGKILL
    assert _history(tmp_path / "b")[-1].step == 19

    with _start_fit(tmp_path, tmp_path / "b") as resumed:
        output, _ = resumed.communicate()
    assert resumed.returncode == 0
    assert "Resuming from the checkpoint after step 10 of 28" in output
    assert [record.step for record in _history(tmp_path / "b")] == [0, 10, 19, 20, 28]
    assert _history(tmp_path / "b") == _history(tmp_path / "a")
    assert output.splitlines()[-2:] == expected.splitlines()[-2:], "the same pass and the same weights are kept"
