"""Checkpoints: written whole, two are kept, and a damaged one falls back to the one before."""

from __future__ import annotations

from pathlib import Path

import pytest
import tensorflow as tf

from training.errors import TrainingError
from training.network.checkpoints import Checkpoints


def _save_three(folder: Path) -> tf.Variable:
    value = tf.Variable(0.0)
    checkpoints = Checkpoints(folder, [value])
    for step in (10, 20, 30):
        value.assign(step)
        checkpoints.save(step)
    return value


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def _restored(folder: Path) -> float:
    value = tf.Variable(-1.0)
    assert Checkpoints(folder, [value]).restore()
    return float(value.numpy())


def test_newest_checkpoint_is_restored_and_two_are_kept(tmp_path: Path) -> None:
    _save_three(tmp_path)
    assert _restored(tmp_path) == 30
    assert [path.name.partition(".")[0] for path in _files(tmp_path)] == ["000000020", "000000030"]


def test_restore_without_checkpoints_returns_false(tmp_path: Path) -> None:
    assert not Checkpoints(tmp_path, [tf.Variable(0.0)]).restore()


def test_damaged_checkpoint_falls_back_to_the_one_before(tmp_path: Path) -> None:
    _save_three(tmp_path)
    _files(tmp_path)[-1].write_bytes(_files(tmp_path)[-1].read_bytes()[:-1])
    assert _restored(tmp_path) == 20


def test_unfinished_checkpoint_is_ignored(tmp_path: Path) -> None:
    _save_three(tmp_path)
    (tmp_path / "000000040.checkpoint.writing").write_bytes(b"half")
    assert _restored(tmp_path) == 30


def test_unreadable_checkpoints_are_an_error_and_not_a_new_start(tmp_path: Path) -> None:
    _save_three(tmp_path)
    for file in _files(tmp_path):
        file.write_bytes(b"")
    with pytest.raises(TrainingError, match="start over"):
        Checkpoints(tmp_path, [tf.Variable(0.0)]).restore()
