"""A step whose gradients are not finite changes nothing, and is counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from models import networks
from tests.support import taught_fit, tiny_fit
from training.network.fit import fit_network
from training.network.images.batches import TrainingBatch
from training.network.trainer import Trainer
from training.recipes.network import Network

ROOT_NETWORK = "with_root"


@pytest.fixture(autouse=True)
def root_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(networks._BUILDERS, ROOT_NETWORK, taught_fit.network_with_root)


def _labelled(**fit: object) -> Network:
    return tiny_fit.network(**fit).model_copy(update={"architecture": ROOT_NETWORK})


def _trainer(**settings: object) -> Trainer:
    network = _labelled(warmup_steps=0, **settings)
    assert network.fit is not None
    return Trainer(network, network.fit, {"colours": 3, "stripes": 2}, 1, None, 40)


def _batch(*, black: bool = False) -> TrainingBatch:
    random = np.random.default_rng(0)
    pixels = random.integers(1, 256, (20, tiny_fit.SIZE, tiny_fit.SIZE, 3), dtype=np.uint8)
    pixels[3] *= not black
    return TrainingBatch(pixels, (random.integers(0, 3, 12), random.integers(0, 2, 8)))


def _state(trainer: Trainer) -> list[np.ndarray]:
    """Return weights, statistics of batch normalization, moments and averages, without the step counter."""
    counter = trainer._optimizer.iterations.value
    return [variable.numpy() for variable in trainer.variables if variable is not counter]


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
def test_step_with_a_gradient_that_is_not_finite_changes_nothing(optimizer: str, parts: int) -> None:
    trainer = _trainer(optimizer=optimizer, parts=parts, dropout=0.0, ema_momentum=0.9)
    assert not trainer.train_step(_batch()).is_skipped
    before = _state(trainer)
    result = trainer.train_step(_batch(black=True))
    assert result.is_skipped
    assert all(np.isfinite(loss) for loss in result.losses.values()), "only the gradient is not finite"
    assert trainer.steps_done == 2
    for value, old in zip(_state(trainer), before, strict=True):
        np.testing.assert_array_equal(value, old)
    assert not trainer.train_step(_batch()).is_skipped
    assert any((value != old).any() for value, old in zip(_state(trainer), before, strict=True))


def test_one_step_that_is_not_skipped_would_ruin_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tf.math, "is_finite", lambda _: tf.constant(True))
    trainer = _trainer()
    trainer.train_step(_batch(black=True))
    assert any(np.isnan(value).any() for value in _state(trainer))


def test_skipped_step_advances_the_learning_rate() -> None:
    trainer = _trainer()
    rates = [trainer.learning_rate]
    for _ in range(2):
        trainer.train_step(_batch(black=True))
        rates.append(trainer.learning_rate)
    assert rates[0] > rates[1] > rates[2]


def test_average_of_weights_starts_with_the_initial_ones_if_step_one_is_skipped() -> None:
    trainer, unfitted = _trainer(ema_momentum=0.5), _trainer(ema_momentum=0.5)
    trainer.train_step(_batch(black=True))
    trainer.use_averaged_weights()
    for name, value in unfitted.export_tensors().items():
        np.testing.assert_array_equal(trainer.export_tensors()[name], value)


def test_skipped_steps_are_counted_in_the_history_and_logged(tmp_path: Path) -> None:
    tiny_fit.write(tmp_path)
    Image.new("RGB", (24, 24)).save(tmp_path / "colours" / "train" / "red" / "8.png")
    lines: list[str] = []
    network = _labelled(passes=3)
    history = fit_network(network, 3, tiny_fit.load(tmp_path), None, tmp_path, log=lines.append).history
    counts = [record.skipped_steps for record in history if record.skipped_steps]
    assert sum(counts) == 3, "one black image in each pass"
    losses = [loss for record in history for loss in record.loss.values()]
    assert np.isfinite(losses).all()
    skipped = [line for line in lines if line.startswith("Skipped step")]
    assert len(skipped) == 3
    assert skipped[0].endswith(": its gradients were not finite")
