"""A killed fit resumes from its last checkpoint and ends with exactly the same result."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from models.artifacts.store import Store
from tests.support import taught_fit, tiny_fit
from training.network.history import HistoryRecord
from training.runtime.folders import PROJECT


def _records(file: Path) -> list[HistoryRecord]:
    return [
        HistoryRecord.model_validate_json(line).model_copy(update={"images_per_second": None})
        for line in file.read_text().splitlines()
    ]


def _run(kind: str, data: Path, folder: Path) -> None:
    command = [sys.executable, "-m", "tests.support.fit_process", kind, str(data), str(folder)]
    process = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr


@pytest.mark.timeout(300)  # a process that loads TensorFlow, and its forks: half a minute on a busy machine
def test_killed_fit_resumes_to_the_same_result(tmp_path: Path) -> None:
    tiny_fit.write(tmp_path / "data")
    _run("labelled", tmp_path / "data", tmp_path)
    assert _records(tmp_path / "at_kill.jsonl")[-1].step == 19

    resumed = _records(tiny_fit.history_file(tmp_path / "killed"))
    assert [record.step for record in resumed] == [0, 10, 19, 20, 28]
    assert resumed == _records(tiny_fit.history_file(tmp_path / "uninterrupted"))
    output = (tmp_path / "resumed.txt").read_text().splitlines()
    assert any("Resuming from the checkpoint after step 10 of 28" in line for line in output)
    expected = (tmp_path / "uninterrupted.txt").read_text().splitlines()
    assert output[-2:] == expected[-2:], "the same pass and the same weights are kept"


@pytest.mark.timeout(300)
def test_killed_fit_with_a_teacher_and_skipped_steps_resumes_to_the_same_result(tmp_path: Path) -> None:
    taught_fit.write(tmp_path / "data", black=4)
    taught_fit.save_teacher(Store(tmp_path / "data" / "store"), taught_fit.fit_teacher(tmp_path))
    _run("taught", tmp_path / "data", tmp_path)
    assert _records(tmp_path / "at_kill.jsonl")[-1].step == 20

    resumed = _records(tiny_fit.history_file(tmp_path / "killed"))
    assert [record.step for record in resumed] == [0, 10, 14, 20, 28]
    assert resumed == _records(tiny_fit.history_file(tmp_path / "uninterrupted"))
    skipped = {record.step: record.skipped_steps for record in resumed if record.skipped_steps}
    assert {10, 28} <= set(skipped), "before and after the checkpoint from which it resumes"
    assert all(record.teacher for record in resumed if record.step in (0, 14, 28))
    weights = {(tmp_path / f"{name}.txt").read_text().splitlines()[-1] for name in ("resumed", "uninterrupted")}
    assert len(weights) == 1
