from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from models import networks
from models.arrays import Pixels
from tests.support import tiny_fit
from training.network import trainer as learner
from training.network.batch_norm import with_fused_normalization
from training.network.fit import fit
from training.network.history import Figures, History, HistoryRecord
from training.network.statistics import recompute_batch_norm


def _model() -> keras.Model:
    pixels = keras.Input((None, None, 3))
    values = layers.BatchNormalization(scale=False, momentum=0.9)(layers.Conv2D(4, 3, use_bias=False)(pixels))
    return with_fused_normalization(
        keras.Model(pixels, layers.GlobalAveragePooling2D()(layers.Activation("relu")(values)))
    )


def _batches(count: int = 5) -> list[Pixels]:
    random = np.random.default_rng(0)
    return [random.integers(0, 40 * (number + 1), (16, 8, 8, 3), dtype=np.uint8) for number in range(count)]


def test_they_become_those_of_all_batches_together() -> None:
    model, batches = _model(), _batches()
    recompute_batch_norm(model, batches)
    convolution, normalization = model.layers[1], model.layers[2]
    values = convolution(networks.scale(np.concatenate(batches))).numpy()
    np.testing.assert_allclose(normalization.moving_mean, values.mean(axis=(0, 1, 2)), atol=1e-4)
    np.testing.assert_allclose(normalization.moving_variance, values.var(axis=(0, 1, 2)), rtol=1e-3)


def test_nothing_else_changes() -> None:
    model = _model()
    before = [variable.numpy() for variable in model.trainable_variables]
    recompute_batch_norm(model, _batches())
    for variable, value in zip(model.trainable_variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    assert model.layers[2].momentum == pytest.approx(0.9)


def test_a_network_without_batch_normalisation_stays_as_it_is() -> None:
    model = networks.build("small_cnn", 32, {"top": 2})
    recompute_batch_norm(model, [])
    assert all(np.isfinite(variable).all() for variable in model.variables)


def test_a_fit_that_was_finished_without_them_takes_them_when_it_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_fit.write(tmp_path / "data", per_class=20)
    sets = tiny_fit.load(tmp_path / "data")
    plain = fit(tiny_fit.network(passes=1), 0, sets, None, tmp_path)
    taken: list[tuple[int, ...]] = []

    def noting(_model: keras.Model, batches: Iterable[Pixels]) -> None:
        taken.extend(batch.shape for batch in batches)

    monkeypatch.setattr(learner, "refresh_statistics", noting)
    again = fit(tiny_fit.network(passes=1, statistics_batches=2), 0, sets, None, tmp_path)
    assert again.folder == plain.folder, "the fit was done once more instead of going on behind its last step"
    assert taken == [(20, tiny_fit.SIZE, tiny_fit.SIZE, 3)] * 2


def test_the_last_record_tells_what_the_network_is_worth_with_them(tmp_path: Path) -> None:
    history = History(tmp_path, None)
    for step in (1, 2):
        history.append(HistoryRecord(step=step, passes=step, learning_rate=0.1, loss={"top": 1.0}))
    better = Figures(images=10, accuracy=0.9, log_loss=0.2)
    history.correct({"top": better})
    reread = History(tmp_path, 2).records
    assert [record.holdout for record in reread] == [None, {"top": better}]
    assert reread[1].loss == {"top": 1.0}
