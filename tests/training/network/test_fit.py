"""A network fitted jointly on several datasets: results, checkpoints, early stopping, validation images."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models import networks
from models.errors import WeightsError
from models.networks import Tensors
from tests.support import tiny_fit
from training.network.fit import FitResult, fit_key, fit_network
from training.network.history import CURVE_FILE, HISTORY_FILE
from training.partition.partition import HOLDOUT, Partition
from training.runtime.folders import PROJECT


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    tiny_fit.write(folder)
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def fitted(data: Path, cache: Path) -> FitResult:
    return fit_network(tiny_fit.network(passes=8), 3, tiny_fit.load(data), None, cache)


def test_one_network_learns_several_datasets(fitted: FitResult) -> None:
    before, after = fitted.history[0].holdout, fitted.history[-1].holdout
    assert before is not None
    assert after is not None
    assert after["colours"].accuracy == 1.0
    assert after["colours"].log_loss < before["colours"].log_loss / 2
    assert after["stripes"].accuracy == 1.0


def test_held_out_images_are_measured_after_each_pass(fitted: FitResult, data: Path) -> None:
    measured = [record for record in fitted.history if record.holdout]
    assert [round(record.passes) for record in measured] == list(range(9))
    for top, partition in zip(("colours", "stripes"), tiny_fit.load(data), strict=True):
        assert {record.holdout[top].images for record in measured if record.holdout} == {partition.count(HOLDOUT)}


def test_history_is_written_as_json_lines_and_as_a_plot(fitted: FitResult) -> None:
    assert fitted.folder is not None
    lines = [json.loads(line) for line in (fitted.folder / HISTORY_FILE).read_text().splitlines()]
    assert [line["step"] for line in lines] == [record.step for record in fitted.history]
    assert set(lines[-1]) == {"step", "passes", "learning_rate", "loss", "images_per_second", "holdout"}
    assert (fitted.folder / CURVE_FILE).is_file()
    assert len(list(fitted.folder.glob("*.checkpoint.safetensors"))) == 2


def test_fitted_tensors_load_into_the_served_network(fitted: FitResult) -> None:
    model = networks.build("small_cnn", tiny_fit.SIZE, {"colours": 3, "stripes": 2})
    networks.set_tensors(model, fitted.tensors)
    assert networks.get_tensors(model).keys() == fitted.tensors.keys()


def test_finished_fit_is_not_repeated(fitted: FitResult, data: Path, cache: Path) -> None:
    lines: list[str] = []
    again = fit_network(tiny_fit.network(passes=8), 3, tiny_fit.load(data), None, cache, log=lines.append)
    assert "after step 76 of 76" in lines[0]
    assert again.history == fitted.history
    for name, tensor in fitted.tensors.items():
        np.testing.assert_array_equal(again.tensors[name], tensor)


def _with_validation(partitions: list[Partition], images: int) -> list[Partition]:
    """Return partitions in which some of the training images validate."""
    return [
        Partition(
            replace(
                each.dataset,
                valid=each.dataset.train.take(np.arange(images)),
                train=each.dataset.train.take(np.arange(images, len(each.dataset.train))),
            )
        )
        for each in partitions
    ]


def test_each_argument_changes_the_folder_of_the_checkpoints(data: Path, tmp_path: Path) -> None:
    tiny_fit.write(tmp_path, per_class=39)
    network, datasets, start = tiny_fit.network(), tiny_fit.load(data), {"dense_0/bias": np.zeros(3, np.float16)}
    keys = [
        fit_key(network, 3, datasets, start),
        fit_key(tiny_fit.network(learning_rate=0.002), 3, datasets, start),
        fit_key(network, 4, datasets, start),
        fit_key(network, 3, datasets, {"dense_0/bias": np.ones(3, np.float16)}),
        fit_key(network, 3, datasets, None),
        fit_key(network, 3, tiny_fit.load(tmp_path), start),
        fit_key(network, 3, [Partition(replace(each.dataset, has_holdout=False)) for each in datasets], start),
        fit_key(tiny_fit.network(everything=True), 3, datasets, start),
        fit_key(network, 3, _with_validation(datasets, 7), start),  # other validation images may choose another pass
        fit_key(network, 3, _with_validation(datasets, 6), start),
    ]
    assert len(set(keys)) == len(keys)
    assert fit_key(tiny_fit.network(), 3, tiny_fit.load(data), dict(start)) == keys[0]


def test_fit_starts_from_the_initial_weights(fitted: FitResult, data: Path, cache: Path) -> None:
    continued = fit_network(tiny_fit.network(passes=0.2), 3, tiny_fit.load(data), fitted.tensors, cache)
    assert continued.history[0].holdout is not None
    assert continued.history[0].holdout["colours"].accuracy == 1.0


def test_initial_weights_of_another_network_are_rejected(data: Path, cache: Path) -> None:
    with pytest.raises(WeightsError, match="do not match small_cnn"):
        fit_network(tiny_fit.network(), 3, tiny_fit.load(data), {"conv2d_0/kernel": np.zeros((3, 3))}, cache)


def test_zero_passes_return_the_initial_weights(data: Path, tmp_path: Path) -> None:
    start: Tensors = {"anything": np.arange(3)}
    result = fit_network(tiny_fit.network(passes=0), 3, tiny_fit.load(data), start, tmp_path)
    assert result.tensors is start
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def stopped(data: Path, cache: Path) -> FitResult:
    network = tiny_fit.network(passes=40, rate="constant", stop={"measure": "accuracy", "patience": 2})
    return fit_network(network, 3, tiny_fit.load(data), None, cache)


def test_early_stopping_ends_the_fit_when_no_pass_is_better(stopped: FitResult) -> None:
    assert stopped.kept_record is not None
    passes = [record for record in stopped.history if record.holdout and record.step]
    assert passes.index(stopped.kept_record) == len(passes) - 3, "two passes were no better"
    assert len(passes) < 30, "fewer than the 40 passes"


def test_early_stopping_returns_the_weights_of_the_best_pass(stopped: FitResult, data: Path, tmp_path: Path) -> None:
    assert stopped.kept_record is not None
    again = fit_network(tiny_fit.network(passes=0.1), 3, tiny_fit.load(data), stopped.tensors, tmp_path)
    measured, kept, last = (
        record.holdout or {} for record in (again.history[0], stopped.kept_record, stopped.history[-1])
    )
    for top, figures in measured.items():
        assert figures.log_loss == pytest.approx(kept[top].log_loss, rel=0.02), "except for rounding to float16"
        assert kept[top].log_loss != pytest.approx(last[top].log_loss, rel=0.05)


def test_fit_that_ended_early_is_not_resumed(stopped: FitResult, data: Path, cache: Path) -> None:
    network = tiny_fit.network(passes=40, rate="constant", stop={"measure": "accuracy", "patience": 2})
    again = fit_network(network, 3, tiny_fit.load(data), None, cache)
    assert again.history == stopped.history
    for name, tensor in stopped.tensors.items():
        np.testing.assert_array_equal(again.tensors[name], tensor)


def test_validation_images_are_measured_instead_of_held_out_ones(data: Path, tmp_path: Path) -> None:
    datasets = _with_validation(tiny_fit.load(data), 7)
    first = fit_network(tiny_fit.network(passes=0.1), 3, datasets, None, tmp_path)
    assert {figures.images for figures in (first.history[0].holdout or {}).values()} == {7}


def test_importing_the_fit_does_not_import_tensorflow() -> None:
    program = "import sys, training.network.fit; sys.exit(bool({'tensorflow', 'keras'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], cwd=PROJECT, check=False).returncode == 0
