"""The partitions of one training run: near duplicates are found among all of its datasets together."""

from __future__ import annotations

from functools import cached_property, reduce
from operator import or_

from training.data.dataset import Dataset
from training.data.run_datasets import RunDatasets
from training.data.split import Split
from training.partition.partition import Claims, Partition
from training.partition.probes import load_probes
from training.partition.record import Record
from training.partition.thumbnails import group_by_look
from training.recipes.network import Task
from training.recipes.schema import Recipe
from training.runtime.context import RunContext


class RunPartitions:
    """Splits the datasets of a recipe; no stage of the run fits on an image that looks like a measured one."""

    def __init__(self, recipe: Recipe, ctx: RunContext, *, fits_network: bool = True) -> None:
        """Prepare to load the datasets; nothing is read yet.

        Args:
            recipe: names the datasets.
            ctx: folders and output of the run.
            fits_network: load the datasets of the network's tasks too.
        """
        self._recipe, self._ctx = recipe, ctx
        self._datasets = RunDatasets(recipe, ctx.data_path, ctx.cache, ctx.log_left_out)
        network = recipe.network if fits_network else None
        self._tasks = network.tasks if network and network.fit and network.fit.passes else ()

    def recipe_dataset(self) -> Dataset:
        """Return the dataset of the recipe's [data], for checks before images are decoded."""
        return self._datasets.of_recipe()

    def of_recipe(self, record: Record) -> Partition:
        """Return the partition of the recipe's [data], which records its hand-outs in `record`.

        Raises:
            DatasetError: it cannot be opened, or images of the run cannot be read.
        """
        dataset = self._datasets.of_recipe()
        known = self._partitions.get(dataset) or self._split([dataset])[dataset]
        return known.recorded_by(record)

    def of_task(self, task: Task, record: Record) -> Partition:
        """Return the partition of a task of the recipe's network, in the same way."""
        return self._partitions[self._datasets.of_task(task)].recorded_by(record)

    @cached_property
    def _partitions(self) -> dict[Dataset, Partition]:
        own = [self._datasets.of_recipe()] if self._recipe.data and self._recipe.head else []
        return self._split([*own, *map(self._datasets.of_task, self._tasks)])

    def _split(self, datasets: list[Dataset]) -> dict[Dataset, Partition]:
        """Return the partition of each dataset, with the claims of all of them."""
        recipe, ctx = self._recipe, self._ctx
        once = {self._datasets.of_task(task): task.data.test_once for task in self._tasks}
        probes: dict[Dataset, dict[str, Split]] = {}
        if recipe.data and self._datasets.of_recipe() in datasets:
            own = self._datasets.of_recipe()
            once[own] = recipe.data.test_once
            probes = {own: load_probes(recipe, own, ctx)}
        named = [*(dataset.splits for dataset in datasets), *probes.values()]
        groups = group_by_look([split for splits in named for split in splits.values()], ctx.cache, ctx.track)
        alone = [Partition(dataset, groups, probes.get(dataset, {}), once[dataset]) for dataset in datasets]
        claims = reduce(or_, (partition.claims for partition in alone), Claims())
        return {each.dataset: Partition(each.dataset, groups, each.probes, each.test_once, claims) for each in alone}
