"""History of a fit: records in a file, cut off where a fit resumes, and a plot."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from training.network.history import CURVE_FILE, HISTORY_FILE, History, HistoryRecord, TopMetrics


def _record(step: int, accuracy: float | None = None) -> HistoryRecord:
    holdout = None if accuracy is None else {"cifar": TopMetrics(images=10, accuracy=accuracy, log_loss=0.5)}
    return HistoryRecord(
        step=step, passes=step / 10, learning_rate=0.1, loss={"cifar": 1.0 / (1 + step)}, holdout=holdout
    )


def test_records_after_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    history = History(tmp_path, resumed_at=None)
    for step in (0, 10, 20, 25):
        history.append(_record(step))
    resumed = History(tmp_path, resumed_at=20)
    resumed.append(_record(30))
    assert [record.step for record in resumed.records] == [0, 10, 20, 30]
    assert History(tmp_path, resumed_at=30).records == resumed.records


def test_incomplete_line_of_a_killed_run_is_ignored(tmp_path: Path) -> None:
    History(tmp_path, resumed_at=None).append(_record(10, accuracy=0.5))
    with (tmp_path / HISTORY_FILE).open("a") as file:
        file.write('{"step": 20, "pas')
    assert History(tmp_path, resumed_at=10).records == [_record(10, accuracy=0.5)]


def test_new_fit_starts_a_new_history(tmp_path: Path) -> None:
    History(tmp_path, resumed_at=None).append(_record(0))
    assert History(tmp_path, resumed_at=None).records == []


def test_learning_curve_is_plotted_when_the_last_plot_is_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history = History(tmp_path, resumed_at=None)
    history.append(_record(10, accuracy=0.4))
    assert not (tmp_path / CURVE_FILE).exists()
    monkeypatch.setattr("training.network.history._PLOT_INTERVAL_S", 0)
    history.append(_record(15))
    assert not (tmp_path / CURVE_FILE).exists(), "nothing was measured"
    history.append(_record(20, accuracy=0.5))
    with Image.open(tmp_path / CURVE_FILE) as image:
        assert image.format == "PNG"
        assert image.width > 600
