from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import tiny_fit
from training.data.dataset import PROJECT
from training.network.history import HISTORY_FILE, HistoryRecord

#: Of the second pass: its record is written, and its weights may be the best so far.
_DEADLY = ["tests.support.killed", "open", "000000019.checkpoint", "1"]


def _start(data: Path, cache: Path, *before: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", *before, "tests.support.fit_process", str(data), str(cache)]
    return subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)


def _history(cache: Path) -> list[HistoryRecord]:
    (file,) = (cache / "fits").glob(f"*/{HISTORY_FILE}")
    return [
        HistoryRecord.model_validate_json(line).model_copy(update={"images_per_second": None})
        for line in file.read_text().splitlines()
    ]


@pytest.mark.timeout(300)  # three processes that load TensorFlow: ten seconds each, more on a busy machine
def test_a_killed_fit_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    tiny_fit.write(tmp_path)
    with _start(tmp_path, tmp_path / "a") as whole, _start(tmp_path, tmp_path / "b", *_DEADLY) as killed:
        uninterrupted, _ = whole.communicate()
        killed.communicate()
    assert whole.returncode == 0
    assert killed.returncode == -signal.SIGKILL
    assert _history(tmp_path / "b")[-1].step == 19

    with _start(tmp_path, tmp_path / "b") as resumed:
        said, _ = resumed.communicate()
    assert resumed.returncode == 0
    assert "Going on from the checkpoint after step 10 of 28" in said
    assert [record.step for record in _history(tmp_path / "b")] == [0, 10, 19, 20, 28]
    assert _history(tmp_path / "b") == _history(tmp_path / "a")
    assert said.splitlines()[-2:] == uninterrupted.splitlines()[-2:], "the same pass is kept, and the same weights"
