"""The weights of a network: initial weights, fitted on the datasets of its tasks if the recipe says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import keras

from models import networks
from models.networks import Tensors
from training.evaluation.seen import UNRECORDED, SeenImages
from training.extractor.initial_weights import InitialWeights, load_initial_weights
from training.extractor.validate_engines import LabelledTop
from training.network.fit import FitResult, fit_network
from training.network.history import HISTORY_KEY
from training.partition.partition import ALL, FIT, HOLDOUT, VALID, Partition
from training.partition.record import Record
from training.partition.run_partitions import RunPartitions
from training.recipes.network import Network
from training.recipes.schema import Recipe
from training.runtime.context import RunContext


@dataclass(frozen=True)
class NetworkWeights:
    """The weights of a network and where they come from.

    Attributes:
        tops: class folders of each top, in the order of its columns.
        fitted_on: provenance, as the manifest stores it: initial weights and their notice, datasets, last step,
            history.
        labelled: datasets of the tops; empty if the network was not fitted.
        inherited: images that the initial weights were made with.
    """

    tensors: Tensors
    tops: dict[str, tuple[str, ...]]
    fitted_on: dict[str, Any]
    labelled: Sequence[LabelledTop] = field(default_factory=tuple)
    inherited: SeenImages = field(default_factory=SeenImages)


def make_weights(
    recipe: Recipe, network: Network, partitions: RunPartitions, record: Record, ctx: RunContext
) -> NetworkWeights:
    """Load the initial weights of a network and fit it, if the recipe says so; `record` receives the images used.

    Raises:
        TrainingError, ModelsError: weights or images cannot be read, or do not fit.
    """
    initial = load_initial_weights(network.architecture, network.weights, ctx.store, ctx.cache, ctx.track)
    if network.fit is None or network.fit.passes == 0:
        return _unfitted(recipe.seed, network, initial)
    of_tasks = [partitions.of_task(task, record) for task in network.tasks]
    tensors = initial.tensors if initial else None
    result = fit_network(network, recipe.seed, of_tasks, tensors, ctx.cache, ctx.track, ctx.log)
    return NetworkWeights(
        result.tensors,
        {task.top: each.dataset.class_ids for task, each in zip(network.tasks, of_tasks, strict=True)},
        _origin(initial) | _describe_datasets(network, of_tasks) | _describe_fit(result),
        tuple(
            LabelledTop(task.top, partition, task.preprocess)
            for task, partition in zip(network.tasks, of_tasks, strict=True)
        ),
        initial.seen if initial else SeenImages(),
    )


def _unfitted(seed: int, network: Network, initial: InitialWeights | None) -> NetworkWeights:
    tops = dict(initial.tops) if initial else {}
    tops |= {task.top: task.classes for task in network.tasks if task.classes}
    if initial is not None:
        return NetworkWeights(initial.tensors, tops, _origin(initial), inherited=initial.seen)
    keras.utils.set_random_seed(seed)
    model = networks.build(network.architecture, network.size, {top: len(names) for top, names in tops.items()})
    return NetworkWeights(networks.get_tensors(model), tops, _origin(initial))


def _origin(initial: InitialWeights | None) -> dict[str, Any]:
    if initial is None:
        return {"start": "random"}
    unrecorded = {UNRECORDED: list(initial.seen.unrecorded)} if initial.seen.unrecorded else {}
    notice = {"notice": initial.notice} if initial.notice else {}
    return {"start": initial.origin} | notice | unrecorded


def _describe_datasets(network: Network, partitions: Sequence[Partition]) -> dict[str, Any]:
    everything = bool(network.fit and network.fit.everything)
    name = ALL if everything else FIT
    return {
        task.top: {
            "dataset": task.data.path,
            "digest": partition.dataset.digest,
            "fitted_on_images": partition.count(name),
            "held_out_images": 0 if everything else partition.count(HOLDOUT),
            "validation_images": 0 if everything else partition.count(VALID),
            "excluded_near_duplicates": partition.excluded(name),
        }
        for task, partition in zip(network.tasks, partitions, strict=True)
    }


def _describe_fit(result: FitResult) -> dict[str, Any]:
    description: dict[str, Any] = {}
    if result.history:
        description["last_step"] = result.history[-1].model_dump(mode="json")
        measured = [record for record in result.history if record.holdout]
        description[HISTORY_KEY] = [record.model_dump(mode="json", exclude_none=True) for record in measured]
    if result.kept_record:
        description["kept_step"] = result.kept_record.model_dump(mode="json")
    return description
