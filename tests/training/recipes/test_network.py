"""The network of a recipe: its sizes have to agree, and passes are also called epochs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import colour_dataset
from training.errors import RecipeError
from training.recipes.load import load_recipe
from training.recipes.network import EarlyStopping, Fit, Network


def write_recipe(folder: Path, text: str) -> str:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_task_of_another_size_than_its_network_is_rejected(tmp_path: Path) -> None:
    task = '[[network.tasks]]\ntop = "t"\nbatch = 8\ndata = { path = "t" }\npreprocess = { size = 48 }\n[extractor]'
    with pytest.raises(RecipeError, match="task t prepares images of 48 px for a network of 32 px"):
        load_recipe(write_recipe(tmp_path, colour_dataset.RECIPE.replace("[extractor]", task)))


def test_batch_that_is_not_divisible_into_parts_is_rejected(tmp_path: Path) -> None:
    fit = "[network.fit]\npasses = 1\nlearning_rate = 0.1\nparts = 3\n"
    task = '[[network.tasks]]\ntop = "t"\nbatch = 8\ndata = { path = "t" }\npreprocess = { size = 32 }\n[extractor]'
    with pytest.raises(RecipeError, match="task t has a batch of 8, which is not a multiple of 3 parts"):
        load_recipe(write_recipe(tmp_path, colour_dataset.RECIPE.replace("[extractor]", fit + task)))


def test_epochs_is_accepted_as_a_name_for_passes(tmp_path: Path) -> None:
    fit = "[network.fit]\nepochs = 3\nlearning_rate = 0.1\n[extractor]"
    recipe = load_recipe(write_recipe(tmp_path, colour_dataset.RECIPE.replace("[extractor]", fit)))
    assert recipe.network is not None
    assert recipe.network.fit == Fit(passes=3, learning_rate=0.1)
    record = recipe.as_record()["network"]["fit"]
    assert record["passes"] == 3
    assert "epochs" not in record


def test_passes_and_epochs_together_are_rejected() -> None:
    with pytest.raises(ValueError, match="epochs"):
        Fit.model_validate({"passes": 3, "epochs": 3, "learning_rate": 0.1})


@pytest.mark.parametrize("unmeasured", [{"everything": True}, {"statistics_batches": 1}])
def test_early_stopping_without_measurements_is_rejected(unmeasured: dict[str, int]) -> None:
    stop = EarlyStopping(measure="log_loss", patience=1)
    with pytest.raises(ValueError, match="stop cannot be combined with everything"):
        Fit.model_validate({"passes": 1, "learning_rate": 0.1, "stop": stop, **unmeasured})


TEACHER: dict[str, object] = {"name": "teacher"}
TAUGHT: dict[str, object] = {
    "top": "t",
    "data": {"path": "t"},
    "preprocess": {"size": 32},
    "batch": 8,
    "loss_weight": 0,
    "teacher_weight": 1,
}
STOP: dict[str, object] = {"passes": 1, "learning_rate": 0.1, "stop": {"measure": "accuracy", "patience": 1}}


@pytest.mark.parametrize(
    ("task", "network", "message"),
    [
        ({"teacher_weight": 0}, {}, "task t needs a loss_weight or a teacher_weight"),
        ({"classes": ["a", "b"]}, {}, "task t has no top"),
        ({"sigmoid": True}, {}, "task t has no top"),
        ({}, {"teacher": None}, r"task t has a teacher_weight, but the network has no \[network.teacher\]"),
        ({"loss_weight": 1, "teacher_weight": 0}, {}, "no task has a teacher_weight"),
        ({}, {"teacher": TEACHER | {"top": "t"}}, "the top t of the teacher has the name of a task"),
        ({}, {"fit": STOP}, "each task needs a loss_weight"),
    ],
)
def test_targets_that_do_not_fit_together_are_rejected(
    task: dict[str, object], network: dict[str, object], message: str
) -> None:
    described = {"architecture": "small_cnn", "size": 32, "weights": "random", "teacher": TEACHER}
    valid = Network.model_validate(described | {"tasks": [TAUGHT]})
    assert (valid.tasks[0].is_labelled, valid.tasks[0].is_taught) == (False, True)
    with pytest.raises(ValueError, match=message):
        Network.model_validate(described | {"tasks": [TAUGHT | task]} | network)


def test_average_of_weights_and_early_stopping_together_are_rejected() -> None:
    with pytest.raises(ValueError, match="stop cannot be combined with ema_momentum"):
        Fit.model_validate(STOP | {"ema_momentum": 0.9})


def test_recipe_without_a_teacher_is_recorded_as_before() -> None:
    plain = TAUGHT | {"loss_weight": 1, "teacher_weight": 0}
    network = Network.model_validate(
        {"architecture": "small_cnn", "size": 32, "weights": "random", "tasks": [plain], "fit": {**STOP, "stop": None}}
    )
    record = network.model_dump_json()
    assert "teacher" not in record
    assert "ema" not in record


@pytest.mark.parametrize(("name", "value"), [("beta_2", 0), ("beta_2", 1), ("momentum", 1), ("weight_decay", -1)])
def test_hyperparameter_without_a_meaning_is_rejected(name: str, value: float) -> None:
    valid = {"passes": 1, "learning_rate": 0.1}
    Fit.model_validate(valid | {name: 0.5})
    with pytest.raises(ValueError, match=name):
        Fit.model_validate(valid | {name: value})
