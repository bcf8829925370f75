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
from training.data import dataset as datasets
from training.data.dataset import PROJECT
from training.network.fit import FitResult, fit
from training.network.history import CURVE_FILE, HISTORY_FILE


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
    return fit(tiny_fit.network(passes=8), 3, tiny_fit.load(data), None, cache)


def test_one_network_learns_several_datasets(fitted: FitResult) -> None:
    before, after = fitted.history[0].holdout, fitted.history[-1].holdout
    assert before is not None
    assert after is not None
    assert after["colours"].accuracy == 1.0
    assert after["colours"].log_loss < before["colours"].log_loss / 2
    assert after["stripes"].accuracy == 1.0


def test_the_held_out_images_are_measured_after_each_pass(fitted: FitResult, data: Path) -> None:
    measured = [record for record in fitted.history if record.holdout]
    assert [round(record.passes) for record in measured] == list(range(9))
    for top, dataset in zip(("colours", "stripes"), tiny_fit.load(data), strict=True):
        assert {record.holdout[top].images for record in measured if record.holdout} == {
            len(datasets.holdout(dataset.train))
        }


def test_history_lies_beside_the_checkpoints_as_json_lines_and_a_picture(fitted: FitResult) -> None:
    assert fitted.folder is not None
    lines = [json.loads(line) for line in (fitted.folder / HISTORY_FILE).read_text().splitlines()]
    assert [line["step"] for line in lines] == [record.step for record in fitted.history]
    assert set(lines[-1]) == {"step", "passes", "learning_rate", "loss", "images_per_second", "holdout"}
    assert (fitted.folder / CURVE_FILE).is_file()
    assert len(list(fitted.folder.glob("*.checkpoint.safetensors"))) == 2


def test_the_result_loads_into_the_network_as_it_is_served(fitted: FitResult) -> None:
    model = networks.build("small_cnn", tiny_fit.SIZE, {"colours": 3, "stripes": 2})
    networks.assign(model, fitted.tensors)
    assert networks.tensors(model).keys() == fitted.tensors.keys()


def test_a_finished_fit_is_not_done_again(fitted: FitResult, data: Path, cache: Path) -> None:
    said: list[str] = []
    again = fit(tiny_fit.network(passes=8), 3, tiny_fit.load(data), None, cache, say=said.append)
    assert "after step 76 of 76" in said[0]
    assert again.history == fitted.history
    for name, tensor in fitted.tensors.items():
        np.testing.assert_array_equal(again.tensors[name], tensor)


@pytest.mark.parametrize("change", ["recipe", "seed", "start", "data"])
def test_another_fit_never_goes_on_from_these_checkpoints(
    change: str, fitted: FitResult, data: Path, cache: Path, tmp_path: Path
) -> None:
    network = tiny_fit.network(passes=0.2, learning_rate=0.002 if change == "recipe" else 0.003)
    sets = tiny_fit.load(data)
    first = fit(network if change != "recipe" else tiny_fit.network(passes=0.2), 3, sets, None, cache)
    if change == "data":
        tiny_fit.write(tmp_path, per_class=39)
        sets = tiny_fit.load(tmp_path)
    start = fitted.tensors if change == "start" else None
    other = fit(network, 4 if change == "seed" else 3, sets, start, cache)
    assert other.folder != first.folder


def test_start_weights_are_where_it_begins(fitted: FitResult, data: Path, cache: Path) -> None:
    gone_on = fit(tiny_fit.network(passes=0.2), 3, tiny_fit.load(data), fitted.tensors, cache)
    assert gone_on.history[0].holdout is not None
    assert gone_on.history[0].holdout["colours"].accuracy == 1.0


def test_start_weights_of_another_network_are_refused(data: Path, cache: Path) -> None:
    with pytest.raises(WeightsError, match="not of small_cnn"):
        fit(tiny_fit.network(), 3, tiny_fit.load(data), {"conv2d_0/kernel": np.zeros((3, 3))}, cache)


def test_no_passes_give_the_start_weights_back(data: Path, tmp_path: Path) -> None:
    start: Tensors = {"anything": np.arange(3)}
    result = fit(tiny_fit.network(passes=0), 3, tiny_fit.load(data), start, tmp_path)
    assert result.tensors is start
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def stopped(data: Path, cache: Path) -> FitResult:
    network = tiny_fit.network(passes=40, rate="constant", stop={"measure": "accuracy", "patience": 2})
    return fit(network, 3, tiny_fit.load(data), None, cache)


def test_a_fit_ends_when_no_pass_is_better(stopped: FitResult) -> None:
    assert stopped.kept is not None
    passes = [record for record in stopped.history if record.holdout and record.step]
    assert passes.index(stopped.kept) == len(passes) - 3, "two passes were no better"
    assert len(passes) < 30, "not all of the forty"


def test_the_weights_of_the_best_pass_are_what_comes_out(stopped: FitResult, data: Path, tmp_path: Path) -> None:
    assert stopped.kept is not None
    again = fit(tiny_fit.network(passes=0.1), 3, tiny_fit.load(data), stopped.tensors, tmp_path)
    measured, kept, last = (record.holdout or {} for record in (again.history[0], stopped.kept, stopped.history[-1]))
    for top, figures in measured.items():
        assert figures.log_loss == pytest.approx(kept[top].log_loss, rel=0.02), "but for float16"
        assert kept[top].log_loss != pytest.approx(last[top].log_loss, rel=0.05)


def test_a_fit_that_ended_early_is_not_gone_on_with(stopped: FitResult, data: Path, cache: Path) -> None:
    network = tiny_fit.network(passes=40, rate="constant", stop={"measure": "accuracy", "patience": 2})
    again = fit(network, 3, tiny_fit.load(data), None, cache)
    assert again.history == stopped.history
    for name, tensor in stopped.tensors.items():
        np.testing.assert_array_equal(again.tensors[name], tensor)


def test_validation_images_are_measured_where_there_are_some(data: Path, tmp_path: Path) -> None:
    network = tiny_fit.network(passes=0.1)
    sets = [replace(one, valid=one.train.take(np.arange(7))) for one in tiny_fit.load(data)]
    first = fit(network, 3, sets, None, tmp_path)
    assert {figures.images for figures in (first.history[0].holdout or {}).values()} == {7}
    sets = [replace(one, valid=one.train.take(np.arange(6))) for one in sets]
    assert fit(network, 3, sets, None, tmp_path).folder != first.folder, "others would choose another pass"


def test_tensorflow_is_loaded_by_a_fit_and_not_before() -> None:
    program = "import sys, training.network.fit; sys.exit(bool({'tensorflow', 'keras'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], cwd=PROJECT, check=False).returncode == 0
