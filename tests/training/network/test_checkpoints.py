from __future__ import annotations

from pathlib import Path

import pytest
import tensorflow as tf

from training.errors import TrainingError
from training.network.checkpoints import Checkpoints


def _saved(folder: Path) -> tf.Variable:
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


def test_the_newest_is_restored_and_two_are_kept(tmp_path: Path) -> None:
    _saved(tmp_path)
    assert _restored(tmp_path) == 30
    assert [path.name.partition(".")[0] for path in _files(tmp_path)] == ["000000020", "000000030"]


def test_there_is_nothing_to_restore_at_first(tmp_path: Path) -> None:
    assert not Checkpoints(tmp_path, [tf.Variable(0.0)]).restore()


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path: Path) -> None:
    _saved(tmp_path)
    _files(tmp_path)[-1].write_bytes(_files(tmp_path)[-1].read_bytes()[:-1])
    assert _restored(tmp_path) == 20


def test_an_unfinished_checkpoint_is_not_looked_at(tmp_path: Path) -> None:
    _saved(tmp_path)
    (tmp_path / "000000040.checkpoint.writing").write_bytes(b"half")
    assert _restored(tmp_path) == 30


def test_a_fit_does_not_begin_anew_over_checkpoints_that_cannot_be_read(tmp_path: Path) -> None:
    _saved(tmp_path)
    for file in _files(tmp_path):
        file.write_bytes(b"")
    with pytest.raises(TrainingError, match="begin anew"):
        Checkpoints(tmp_path, [tf.Variable(0.0)]).restore()
