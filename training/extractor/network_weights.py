"""The weights of a network: initial weights, fitted on the datasets of its tasks if the recipe says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import keras

from models import networks
from models.networks import Tensors
from training.evaluation.seen import UNRECORDED, SeenImages, seen_by_artifact
from training.extractor.initial_weights import InitialWeights, load_initial_weights
from training.extractor.validate_engines import FittedDataset
from training.network.fit import FitResult, fit_network
from training.network.history import HISTORY_KEY
from training.network.teacher import Teacher, load_teacher
from training.partition.partition import ALL, FIT, HOLDOUT, VALID, Partition
from training.partition.record import Record
from training.partition.run_partitions import RunPartitions
from training.recipes.network import Network
from training.recipes.schema import Recipe
from training.runtime.context import RunContext

#: Key in an extractor's `fitted_on` of the extractor that taught it.
TEACHER_KEY = "teacher"


@dataclass(frozen=True)
class NetworkWeights:
    """The weights of a network and where they come from.

    Attributes:
        tops: class folders of each top, in the order of its columns.
        fitted_on: provenance, as the manifest stores it: initial weights and their notice, datasets, last step,
            history.
        fitted: datasets that it was fitted on; empty if it was not fitted.
        inherited: images that the initial weights and the teacher were made with.
    """

    tensors: Tensors
    tops: dict[str, tuple[str, ...]]
    fitted_on: dict[str, Any]
    fitted: Sequence[FittedDataset] = ()
    inherited: SeenImages = field(default_factory=SeenImages)

    @property
    def labelled(self) -> Sequence[FittedDataset]:
        """The datasets whose labels it was fitted on, each with its own top."""
        return [dataset for dataset in self.fitted if dataset.top]


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
    teacher = load_teacher(network.teacher, ctx.store) if network.teacher else None
    of_tasks = [partitions.of_task(task, record) for task in network.tasks]
    tensors = initial.tensors if initial else None
    result = fit_network(network, recipe.seed, of_tasks, tensors, ctx.cache, ctx.track, ctx.log, teacher)
    inherited = initial.seen if initial else SeenImages()
    if teacher:
        inherited = inherited.joined_with(seen_by_artifact(teacher.artifact).inherited())
    tasks = list(zip(network.tasks, of_tasks, strict=True))
    tops = {task.top: partition.dataset.class_ids for task, partition in tasks if task.is_labelled}
    return NetworkWeights(
        _kept_tensors(network, result.tensors),
        tops | _kept_teacher_top(network, teacher),
        _origin(initial, teacher, inherited) | _describe_datasets(network, of_tasks) | _describe_fit(result),
        [FittedDataset(task.top if task.is_labelled else "", each, task.preprocess) for task, each in tasks],
        inherited,
    )


def _kept_tensors(network: Network, tensors: Tensors) -> Tensors:
    """Return the tensors without those of the teacher's top, if the recipe does not keep it."""
    if not network.teacher or network.teacher.keep_top:
        return tensors
    left_out = f"{network.teacher.top}/"
    return {name: value for name, value in tensors.items() if not name.startswith(left_out)}


def _kept_teacher_top(network: Network, teacher: Teacher | None) -> dict[str, tuple[str, ...]]:
    return {network.teacher.top: teacher.classes} if network.teacher and network.teacher.keep_top and teacher else {}


def _unfitted(seed: int, network: Network, initial: InitialWeights | None) -> NetworkWeights:
    tops = dict(initial.tops) if initial else {}
    tops |= {task.top: task.classes for task in network.tasks if task.classes}
    if initial is not None:
        return NetworkWeights(initial.tensors, tops, _origin(initial, None, initial.seen), inherited=initial.seen)
    keras.utils.set_random_seed(seed)
    model = networks.build(network.architecture, network.size, {top: len(names) for top, names in tops.items()})
    return NetworkWeights(networks.get_tensors(model), tops, _origin(None, None, SeenImages()))


def _origin(initial: InitialWeights | None, teacher: Teacher | None, inherited: SeenImages) -> dict[str, Any]:
    """Describe what a network was made from, with the notices that are passed on."""
    origin: dict[str, Any] = {"start": initial.origin if initial else "random"}
    notices = [initial.notice] if initial else []
    if teacher:
        origin[TEACHER_KEY] = f"{teacher.artifact.label} sha256:{teacher.manifest.weights_sha256}"
        notices.append(teacher.manifest.fitted_on.get("notice", ""))
    notice = "\n\n".join(dict.fromkeys(filter(None, notices)))
    unrecorded = {UNRECORDED: list(inherited.unrecorded)} if inherited.unrecorded else {}
    return origin | ({"notice": notice} if notice else {}) | unrecorded


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
        description["last_step"] = result.history[-1].model_dump(mode="json", exclude_none=True)
        measured = [record for record in result.history if record.is_measured]
        description[HISTORY_KEY] = [record.model_dump(mode="json", exclude_none=True) for record in measured]
    if result.kept_record:
        description["kept_step"] = result.kept_record.model_dump(mode="json", exclude_none=True)
    skipped_steps = sum(record.skipped_steps or 0 for record in result.history)
    if skipped_steps:
        description["skipped_steps"] = skipped_steps
    return description
