"""Fits one network on several datasets at once, each with its own softmax.

datasets -> decoded images -> batches -> trainer -> history, checkpoints -> tensors

After a kill, the same call resumes from the last checkpoint.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from models import networks
from models.console.progress import Track, silent
from models.manifests import sha256
from models.networks import Tensors
from training.data.split import Split
from training.network.history import History, HistoryRecord
from training.network.images.batches import DatasetShare, LabelledImages
from training.network.images.image_cache import load_decoded_images
from training.network.loop import TrainingLoop
from training.network.schedule import Schedule, make_schedule
from training.network.teacher import Teacher
from training.partition.partition import ALL, FIT, HOLDOUT, VALID, Partition
from training.partition.record import Stage, Use
from training.recipes.network import Network, Task
from training.runtime.tensorflow import fastest_precision

if TYPE_CHECKING:  # imports TensorFlow
    from training.network.trainer import Trainer

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class FitResult:
    """A fitted network.

    Attributes:
        tensors: weights as they are saved: of the last step, or with early stopping of the best pass.
        history: records of all steps.
        folder: contains its checkpoints, history and learning curve.
        kept_record: the record of the step that the tensors are from.
    """

    tensors: Tensors
    history: tuple[HistoryRecord, ...] = ()
    folder: Path | None = None
    kept_record: HistoryRecord | None = None


def fit_network(
    network: Network,
    seed: int,
    partitions: Sequence[Partition],
    initial_weights: Tensors | None,
    cache: Path,
    track: Track = silent,
    log: Callable[[str], None] = logger.info,
    teacher: Teacher | None = None,
) -> FitResult:
    """Fit a network jointly on its tasks, or resume a fit that was interrupted.

    The arguments alone determine the result, and checkpoints are only found by a call with the same arguments. The
    network is evaluated at the start and after each pass, on the validation images if the recipe names some, else on
    the held-out ones. A fit on everything is not evaluated.

    Args:
        network: from the recipe.
        seed: of random weights, order of images, augmentation and dropout.
        partitions: of the datasets of the network's tasks, in their order.
        initial_weights: tops that they lack start with random weights; None: everything does.
        cache: folder for decoded images, checkpoints, history and learning curve.
        track: shows progress.
        log: receives the precision, the step from which an interrupted fit resumes, and steps that are skipped.
        teacher: the recipe's, if it has one.

    Returns:
        The fitted network. With `passes = 0`, the initial weights unchanged.

    Raises:
        RecipeError: the recipe has no fit or no tasks.
        DatasetError: images cannot be read.
        WeightsError: there is no such network, or the initial weights belong to another one.
        TrainingError: there are checkpoints, but none can be read.
    """
    schedule = make_schedule(network, [partition.count(_fitted_set(network)) for partition in partitions])
    if initial_weights is not None and not schedule.steps:
        return FitResult(initial_weights)
    from training.network.checkpoints import Checkpoints
    from training.network.trainer import Trainer

    tops = {
        task.top: len(each.dataset.class_ids)
        for task, each in zip(network.tasks, partitions, strict=True)
        if task.is_labelled
    }
    if network.teacher and teacher:
        tops[network.teacher.top] = len(teacher.classes)
    trainer = Trainer(network, schedule.fit, tops, seed, initial_weights, schedule.steps)
    if not schedule.steps:
        return FitResult(trainer.export_tensors())
    folder = cache / "fits" / fit_key(network, seed, partitions, initial_weights, teacher)
    checkpoints = Checkpoints(folder, trainer.variables)
    history = _open_history(folder, trainer, schedule, resumed=checkpoints.restore(), log=log)
    shares, held_out = _load_images(network, partitions, teacher, cache, track)
    loop = TrainingLoop(schedule, trainer, checkpoints, history, shares, held_out, seed, log)
    with fastest_precision() as precision, track("Fitting", schedule.steps * schedule.images_per_step) as advance:
        log(f"Fitting in {precision}")
        loop.run(advance)
    kept_record = _finish(loop, log)
    return FitResult(trainer.export_tensors(), tuple(history.records), folder, kept_record)


def _open_history(
    folder: Path, trainer: Trainer, schedule: Schedule, *, resumed: bool, log: Callable[[str], None]
) -> History:
    if not resumed:
        return History(folder, None)
    log(f"Resuming from the checkpoint after step {trainer.steps_done:,} of {schedule.steps:,} in {folder}")
    return History(folder, trainer.steps_done)


def _finish(loop: TrainingLoop, log: Callable[[str], None]) -> HistoryRecord:
    """Set the network to its final weights, plot the history and return the record that describes the weights.

    This runs in float32, the precision that serves, not in that of the fit.
    """
    fit, records = loop.schedule.fit, loop.history.records
    kept_record = records[-1]
    if fit.stop:
        kept_record = loop.restore_best_weights()
        log(f"Fitted {records[-1].passes:g} passes; kept the weights after {kept_record.passes:g}")
    if fit.ema_momentum:
        loop.trainer.use_averaged_weights()
    if fit.statistics_batches:
        loop.recompute_batch_norm(fit.statistics_batches)
    if fit.ema_momentum or fit.statistics_batches:
        kept_record = loop.evaluate_again()
    loop.history.plot()
    return kept_record


def _load_images(
    network: Network, partitions: Sequence[Partition], teacher: Teacher | None, cache: Path, track: Track
) -> tuple[list[DatasetShare], list[tuple[Task, LabelledImages]]]:
    """Return the images to fit on, and of each task those to measure: validation images, else held-out ones."""
    assert network.fit is not None
    shares, measured = [], []
    for task, partition in zip(network.tasks, partitions, strict=True):
        split = partition.hand_out(Stage.NETWORK, _fitted_set(network), Use.FIT)
        of_task = teacher if task.is_taught else None
        images = replace(_decode(split, task, task.top, cache, track), teacher=of_task)
        shares.append(
            DatasetShare(images, task.batch, task.crop_border, network.fit.flip, task.smallest_area, task.warp)
        )
        name = _measured_set(network, partition)
        if name:
            # Without early stopping the figures are only shown.
            split = partition.hand_out(Stage.NETWORK, name, Use.CHOOSE if network.fit.stop else Use.MEASURE)
            images = _decode(split, task, f"{task.top}: {name}", cache, track)
            measured.append((task, replace(images, teacher=of_task)))
    return shares, measured


def _fitted_set(network: Network) -> str:
    return ALL if network.fit and network.fit.everything else FIT


def _measured_set(network: Network, partition: Partition) -> str:
    """Return the name of the set that the network is evaluated on after each pass; empty if there is none."""
    if _fitted_set(network) == ALL:
        return ""
    return next((name for name in (VALID, HOLDOUT) if partition.count(name)), "")


def _decode(split: Split, task: Task, title: str, cache: Path, track: Track) -> LabelledImages:
    pixels = load_decoded_images(split, task.preprocess, cache, title, track)
    return LabelledImages(pixels, split.labels, np.arange(len(split), dtype=np.int64), task.preprocess)


def fit_key(
    network: Network,
    seed: int,
    partitions: Sequence[Partition],
    initial_weights: Tensors | None,
    teacher: Teacher | None = None,
) -> str:
    """Return a digest of all that determines the result: recipe, seed, ordered images, initial weights, teacher."""
    # These take effect after the last checkpoint, so they do not distinguish checkpoints.
    recipe = network.model_dump_json(exclude={"weights": True, "fit": {"statistics_batches"}, "teacher": {"keep_top"}})
    parts = [recipe, str(seed)]
    for partition in partitions:
        # If other images were held out than before, a resumed fit would be measured on images that it was fitted on.
        sets = (_fitted_set(network), _measured_set(network, partition))
        parts += [f"{partition.dataset.class_ids}", *(partition.identity(name) for name in sets if name)]
    parts += [sha256(networks.to_bytes(initial_weights)) if initial_weights is not None else "random"]
    parts += [teacher.identity] if teacher else []
    return sha256("\n".join(parts).encode())[:24]
