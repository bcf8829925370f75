from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import tiny_fit
from training.errors import RecipeError
from training.network.schedule import Schedule, make_schedule
from training.recipes.schema import Early, Fit

_FIT = Fit(passes=1, learning_rate=0.1, checkpoint_steps=10)


def test_passes_are_over_the_dataset_that_needs_most_steps(tmp_path: Path) -> None:
    tiny_fit.write(tmp_path)
    planned = make_schedule(tiny_fit.network(), tiny_fit.load(tmp_path))
    # 3 x 38 images of colours, 12 in a step; 2 x 38 of stripes, 8 in a step
    assert planned.steps_in_pass == 9.5
    assert planned.steps == 28
    assert planned.images_in_step == 20


def test_held_out_images_are_measured_at_the_start_after_each_pass_and_at_the_end() -> None:
    planned = Schedule(_FIT, steps=36, steps_in_pass=9.7, images_in_step=1)
    assert [step for step in range(37) if planned.measures(step)] == [0, 10, 19, 29, 36]


def test_checkpoints_come_at_regular_steps_and_at_the_end_and_always_with_a_record() -> None:
    planned = Schedule(_FIT, steps=36, steps_in_pass=50, images_in_step=1)
    assert [step for step in range(1, 37) if planned.saves(step)] == [10, 20, 30, 36]
    assert [step for step in range(37) if planned.records(step)] == [0, 10, 20, 30, 36]


@pytest.mark.parametrize("missing", ["fit", "tasks"])
def test_a_recipe_without_anything_to_fit_is_refused(missing: str) -> None:
    empty = {"fit": None, "tasks": ()}[missing]
    with pytest.raises(RecipeError, match="needs"):
        make_schedule(tiny_fit.network().model_copy(update={missing: empty}), [])


def test_images_are_smaller_for_the_first_share_of_the_steps() -> None:
    early = Early(size=80, share=0.75)
    planned = Schedule(_FIT.model_copy(update={"early": early}), steps=8, steps_in_pass=4, images_in_step=1)
    assert [planned.size(step) for step in range(8)] == [80] * 6 + [None] * 2
    assert Schedule(_FIT, steps=8, steps_in_pass=4, images_in_step=1).size(0) is None
