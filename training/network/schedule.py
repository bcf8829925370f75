"""Schedule of a fit: number of steps, and after which of them something happens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from training.errors import RecipeError
from training.recipes.network import Fit, Network

#: Steps between two records of the history.
_RECORD_INTERVAL_STEPS = 50


@dataclass(frozen=True)
class Schedule:
    """The steps of a fit.

    Attributes:
        fit: the recipe's settings.
        steps: total number of steps.
        steps_per_pass: usually not a whole number.
        images_per_step: sum over all datasets.
    """

    fit: Fit
    steps: int
    steps_per_pass: float
    images_per_step: int

    def image_size(self, step: int) -> int | None:
        """Return the side of the input in px for a step, counted from 0; None means the network's input size."""
        early = self.fit.early
        return early.size if early and step < early.share * self.steps else None

    def saves_checkpoint(self, step: int) -> bool:
        """Return whether a checkpoint is written after `step` steps; with early stopping, also after each pass."""
        ends_pass = self.fit.stop is not None and step > 0 and self.evaluates(step)
        return ends_pass or step == self.steps or step % self.fit.checkpoint_steps == 0

    def evaluates(self, step: int) -> bool:
        """Return whether the network is evaluated on the held-out images after `step` steps.

        It is evaluated at the start and after each pass.
        """
        passes = round(step / self.steps_per_pass)
        return step == self.steps or step == round(passes * self.steps_per_pass)

    def records_history(self, step: int) -> bool:
        """Return whether the history gets a record. Each checkpoint has one, so that no record spans a restart."""
        return step % _RECORD_INTERVAL_STEPS == 0 or self.saves_checkpoint(step) or self.evaluates(step)


def make_schedule(network: Network, images: Sequence[int]) -> Schedule:
    """Count the steps. A pass is over the dataset that needs most of them.

    Args:
        network: its tasks give the images of each dataset per step, its fit the number of passes.
        images: number of images to fit on of each task, in their order.

    Raises:
        RecipeError: the recipe has no fit or no tasks.
    """
    fit, tasks = network.fit, network.tasks
    if fit is None or not tasks:
        raise RecipeError("To fit a network, the recipe needs [network.fit] and at least one [[network.tasks]].")
    steps_per_pass = max(count / task.batch for task, count in zip(tasks, images, strict=True))
    return Schedule(fit, round(fit.passes * steps_per_pass), steps_per_pass, sum(task.batch for task in tasks))
