from __future__ import annotations

from pathlib import Path

from PIL import Image

from training.network.history import CURVE_FILE, HISTORY_FILE, Figures, History, HistoryRecord


def _record(step: int, accuracy: float | None = None) -> HistoryRecord:
    figures = None if accuracy is None else {"cifar": Figures(images=10, accuracy=accuracy, log_loss=0.5)}
    return HistoryRecord(
        step=step, passes=step / 10, learning_rate=0.1, loss={"cifar": 1.0 / (1 + step)}, holdout=figures
    )


def test_what_came_after_the_checkpoint_is_cut_off(tmp_path: Path) -> None:
    history = History(tmp_path, resumed_at=None)
    for step in (0, 10, 20, 25):
        history.append(_record(step))
    resumed = History(tmp_path, resumed_at=20)
    resumed.append(_record(30))
    assert [record.step for record in resumed.records] == [0, 10, 20, 30]
    assert History(tmp_path, resumed_at=30).records == resumed.records


def test_half_a_line_of_a_killed_run_does_no_harm(tmp_path: Path) -> None:
    History(tmp_path, resumed_at=None).append(_record(10, accuracy=0.5))
    with (tmp_path / HISTORY_FILE).open("a") as file:
        file.write('{"step": 20, "pas')
    assert History(tmp_path, resumed_at=10).records == [_record(10, accuracy=0.5)]


def test_a_fit_that_begins_anew_begins_a_new_history(tmp_path: Path) -> None:
    History(tmp_path, resumed_at=None).append(_record(0))
    assert History(tmp_path, resumed_at=None).records == []


def test_a_picture_shows_the_curve_after_each_measurement(tmp_path: Path) -> None:
    history = History(tmp_path, resumed_at=None)
    history.append(_record(5))
    assert not (tmp_path / CURVE_FILE).exists()
    history.append(_record(10, accuracy=0.5))
    with Image.open(tmp_path / CURVE_FILE) as picture:
        assert picture.format == "PNG"
        assert picture.width > 600
