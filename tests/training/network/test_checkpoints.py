"""Checkpoints: written whole, two are kept, and a damaged one falls back to the one before."""

from __future__ import annotations

import os
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


def test_checkpoint_is_durable_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a loss of power could leave an empty file, and the one before it would be deleted."""
    synced: dict[int, int] = {}
    real_fsync = os.fsync

    def fsync(descriptor: int) -> None:
        real_fsync(descriptor)
        status = os.fstat(descriptor)
        synced[status.st_ino] = status.st_size
        assert len(_files(tmp_path)) == min(len(synced) - 1, 2), "the new file has its name, or an old one is missing"

    monkeypatch.setattr(os, "fsync", fsync)
    _save_three(tmp_path)
    assert len(synced) == 3
    assert all(synced[path.stat().st_ino] == path.stat().st_size > 0 for path in _files(tmp_path))
    assert len(list(tmp_path.iterdir())) == 2


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
