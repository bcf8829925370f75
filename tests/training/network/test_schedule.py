"""Schedule of a fit: number of steps, and when it measures, saves and records."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import tiny_fit
from training.errors import RecipeError
from training.network.schedule import Schedule, make_schedule
from training.partition.partition import FIT
from training.recipes.network import EarlyStopping, Fit, ProgressiveResizing

_FIT = Fit(passes=1, learning_rate=0.1, checkpoint_steps=10)


def test_pass_is_over_the_dataset_that_needs_most_steps(tmp_path: Path) -> None:
    tiny_fit.write(tmp_path)
    schedule = make_schedule(tiny_fit.network(), [each.count(FIT) for each in tiny_fit.load(tmp_path)])
    # 3 x 38 images of colours, 12 in a step; 2 x 38 of stripes, 8 in a step
    assert schedule.steps_per_pass == 9.5
    assert schedule.steps == 28
    assert schedule.images_per_step == 20


def test_held_out_images_are_measured_at_the_start_and_after_each_pass() -> None:
    schedule = Schedule(_FIT, steps=36, steps_per_pass=9.7, images_per_step=1)
    assert [step for step in range(37) if schedule.evaluates(step)] == [0, 10, 19, 29, 36]


def test_checkpoints_are_regular_and_each_has_a_history_record() -> None:
    schedule = Schedule(_FIT, steps=36, steps_per_pass=50, images_per_step=1)
    assert [step for step in range(1, 37) if schedule.saves_checkpoint(step)] == [10, 20, 30, 36]
    assert [step for step in range(37) if schedule.records_history(step)] == [0, 10, 20, 30, 36]


def test_history_has_a_record_every_50_steps() -> None:
    schedule = Schedule(_FIT.model_copy(update={"checkpoint_steps": 1000}), 210, steps_per_pass=1000, images_per_step=1)
    assert [step for step in range(211) if schedule.records_history(step)] == [0, 50, 100, 150, 200, 210]


def test_early_stopping_needs_a_checkpoint_after_each_pass() -> None:
    stop = EarlyStopping(measure="accuracy", patience=1)
    fit = _FIT.model_copy(update={"checkpoint_steps": 25, "stop": stop})
    schedule = Schedule(fit, steps=36, steps_per_pass=9.7, images_per_step=1)
    assert [step for step in range(1, 37) if schedule.saves_checkpoint(step)] == [10, 19, 25, 29, 36]
    assert [step for step in range(37) if schedule.records_history(step)] == [0, 10, 19, 25, 29, 36]


@pytest.mark.parametrize("missing", ["fit", "tasks"])
def test_recipe_without_fit_or_tasks_is_rejected(missing: str) -> None:
    empty = {"fit": None, "tasks": ()}[missing]
    with pytest.raises(RecipeError, match="needs"):
        make_schedule(tiny_fit.network().model_copy(update={missing: empty}), [])


def test_images_are_smaller_in_the_first_share_of_the_steps() -> None:
    early = ProgressiveResizing(size=80, share=0.75)
    schedule = Schedule(_FIT.model_copy(update={"early": early}), steps=8, steps_per_pass=4, images_per_step=1)
    assert [schedule.image_size(step) for step in range(8)] == [80] * 6 + [None] * 2
    assert Schedule(_FIT, steps=8, steps_per_pass=4, images_per_step=1).image_size(0) is None
