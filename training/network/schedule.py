"""How long a fit takes, and what happens after which of its steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from training.data.dataset import Dataset
from training.errors import RecipeError
from training.recipes.schema import Fit, Network

_RECORD_STEPS = 50


@dataclass(frozen=True)
class Schedule:
    """The steps of a fit.

    Attributes:
        fit: the recipe's part that it follows.
        steps: in all.
        steps_in_pass: seldom a whole number.
        images_in_step: of all datasets together.
    """

    fit: Fit
    steps: int
    steps_in_pass: float
    images_in_step: int

    def size(self, step: int) -> int | None:
        """Side of the input in the step after so many, where it is not yet the network's own."""
        early = self.fit.early
        return early.size if early and step < early.share * self.steps else None

    def saves(self, step: int) -> bool:
        """Whether a checkpoint is written after so many steps; where a fit may end early, after each pass."""
        ends_pass = self.fit.stop is not None and step > 0 and self.measures(step)
        return ends_pass or step == self.steps or step % self.fit.checkpoint_steps == 0

    def measures(self, step: int) -> bool:
        """Whether the held-out images are measured after so many steps: at the start, and after each pass."""
        passes = round(step / self.steps_in_pass)
        return step == self.steps or step == round(passes * self.steps_in_pass)

    def records(self, step: int) -> bool:
        """Whether history gets a record. Each checkpoint does, so that no record spans a kill."""
        return step % _RECORD_STEPS == 0 or self.saves(step) or self.measures(step)


def make_schedule(network: Network, sets: Sequence[Dataset]) -> Schedule:
    """Count the steps; passes are over the dataset that needs most of them.

    Args:
        network: its tasks say how many images of each dataset a step takes, its fit how many passes.
        sets: the datasets of its tasks, in their order.

    Raises:
        RecipeError: nothing is to be fitted, or on nothing.
    """
    fit, tasks = network.fit, network.tasks
    if fit is None or not tasks:
        raise RecipeError("To fit a network, the recipe needs [network.fit] and at least one [[network.tasks]].")
    in_pass = max(len(data.fitted) / task.batch for task, data in zip(tasks, sets, strict=True))
    return Schedule(fit, round(fit.passes * in_pass), in_pass, sum(task.batch for task in tasks))
