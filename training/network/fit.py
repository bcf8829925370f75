"""Fits one network on several datasets at once, each with a softmax of its own.

datasets -> sources -> batches -> learner -> history, checkpoints -> tensors

After a kill, the same call goes on from the last checkpoint.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from models import networks
from models.console.progress import Advance, Track, silent
from models.manifests import sha256
from models.networks import Tensors
from training.data import dataset as datasets
from training.data.dataset import Dataset, Split
from training.network import early_stopping as stopping
from training.network.batches import DatasetShare, Images, ahead, mixed
from training.network.history import Figures, History, HistoryRecord
from training.network.image_cache import load_source
from training.network.schedule import Schedule, make_schedule
from training.recipes.schema import Network, Task
from training.runtime.tensorflow import fastest_precision

if TYPE_CHECKING:
    from training.network.checkpoints import Checkpoints
    from training.network.trainer import Trainer

logger = logging.getLogger(__name__)

_MEASURE_BATCH = 64


@dataclass(frozen=True, eq=False)
class FitResult:
    """A fitted network: its weights as they are saved, how the fit went, and where its files lie.

    Attributes:
        tensors: of the last step, or of the best pass where the recipe has a `stop`.
        history: of all steps.
        folder: of its checkpoints, history and picture.
        kept: the record of the step that the tensors are of.
    """

    tensors: Tensors
    history: tuple[HistoryRecord, ...] = ()
    folder: Path | None = None
    kept: HistoryRecord | None = None


def fit(
    network: Network,
    seed: int,
    sets: Sequence[Dataset],
    start: Tensors | None,
    cache: Path,
    track: Track = silent,
    say: Callable[[str], None] = logger.info,
) -> FitResult:
    """Fit a network jointly on its tasks, or go on with a fit that was interrupted.

    The arguments alone decide what comes out: the same ones find the checkpoints of the run before, others never
    do. The held-out share of each dataset is never fitted on; it is measured at the start and after each pass, or the
    validation images are, where the recipe names some.

    Args:
        network: from the recipe.
        seed: of random weights, order of images, augmentation and dropout.
        sets: the datasets of the network's tasks, in their order.
        start: weights to start from; tops that they lack start at random, and everything does where it is None.
        cache: folder for decoded images, checkpoints, history and its picture.
        track: shows progress.
        say: is told in a line what precision is used, and where an interrupted fit goes on.

    Returns:
        The weights after the last step, or after the best pass where the recipe has a `stop`; with `passes = 0` the
        start weights as they were given.

    Raises:
        RecipeError: there is nothing to fit.
        DatasetError: images cannot be read.
        WeightsError: there is no such network, or the start weights are not of it.
        TrainingError: checkpoints are there, but cannot be read.
    """
    planned = make_schedule(network, sets)
    if start is not None and not planned.steps:
        return FitResult(start)
    from training.network.checkpoints import Checkpoints
    from training.network.trainer import Trainer

    tops = {task.top: len(data.ids) for task, data in zip(network.tasks, sets, strict=True)}
    learner = Trainer(network, planned.fit, tops, seed, start, planned.steps)
    if not planned.steps:
        return FitResult(learner.tensors())
    folder = cache / "fits" / _key(network, seed, sets, start)
    checkpoints = Checkpoints(folder, learner.variables)
    resumed = checkpoints.restore()
    if resumed:
        say(f"Going on from the checkpoint after step {learner.step:,} of {planned.steps:,} in {folder}")
    history = History(folder, learner.step if resumed else None)
    shares, held_out = _sources(network.tasks, sets, planned.fit.flip, cache, track)
    with fastest_precision() as precision, track("Fitting", planned.steps * planned.images_in_step) as advance:
        say(f"Fitting in {precision}")
        run = _Run(planned, learner, checkpoints, history, shares, held_out, seed)
        run.finish(advance)
    kept = history.records[-1]
    if planned.fit.stop:
        kept = stopping.best(history.records, planned.fit.stop) or kept
        learner.take_kept()
        say(f"Fitted {history.records[-1].passes:g} passes; kept the weights after {kept.passes:g}")
    if planned.fit.statistics_batches:  # in the precision that serves
        run.refresh_statistics(planned.fit.statistics_batches)
        kept = history.records[-1]
    return FitResult(learner.tensors(), tuple(history.records), folder, kept)


@dataclass(frozen=True, eq=False)
class _Run:
    schedule: Schedule
    learner: Trainer
    checkpoints: Checkpoints
    history: History
    shares: Sequence[DatasetShare]
    held_out: Mapping[str, Images]
    seed: int

    def finish(self, advance: Advance) -> None:
        """Take all steps that are left, or as many as it takes to see that no more are needed."""
        begun = self.learner.step
        advance(begun * self.schedule.images_in_step)
        stretch = _Stretch()
        if begun == 0:
            self._record(0, stretch)
        if self._is_over():
            return
        batches = ahead(partial(mixed, self.shares, self.seed, self.schedule.size), range(begun, self.schedule.steps))
        for step, batch in enumerate(batches, begun + 1):
            stretch.add(self.learner.fit(batch), len(batch.pixels))
            advance(len(batch.pixels))
            if self.schedule.records(step):
                self._record(step, stretch)
                stretch = _Stretch()
            if self.schedule.saves(step):
                self.checkpoints.save(step)
            if self._is_over():
                return

    def _is_over(self) -> bool:
        stop = self.schedule.fit.stop
        return stop is not None and stopping.should_stop(self.history.records, stop)

    def refresh_statistics(self, count: int) -> None:
        """After the last checkpoint: they follow from its weights, so a run that is killed here takes them again."""
        shares = [replace(share, crop_border=0, smallest_area=1) for share in self.shares]
        batches = ahead(partial(mixed, shares, self.seed, lambda _: None), range(count))
        self.learner.recompute_batch_norm(batch.pixels for batch in batches)
        self.history.correct(self._measure())

    def _record(self, step: int, stretch: _Stretch) -> None:
        record = HistoryRecord(
            step=step,
            passes=round(step / self.schedule.steps_in_pass, 4),
            learning_rate=self.learner.learning_rate,
            loss=stretch.mean_losses(),
            images_per_second=stretch.images_per_second(),
            holdout=self._measure() if self.schedule.measures(step) else None,
        )
        self.history.append(record)
        if self.schedule.fit.stop and stopping.best(self.history.records, self.schedule.fit.stop) is record:
            self.learner.keep()
        logger.info("%s", record)

    def _measure(self) -> dict[str, Figures]:
        return {top: self.learner.measure(top, images.chunks(_MEASURE_BATCH)) for top, images in self.held_out.items()}


class _Stretch:
    """Consecutive steps, averaged into one record."""

    def __init__(self) -> None:
        self._losses: list[dict[str, float]] = []
        self._images = 0
        self._begun = time.perf_counter()

    def add(self, losses: dict[str, float], images: int) -> None:
        self._losses.append(losses)
        self._images += images

    def mean_losses(self) -> dict[str, float]:
        tops = self._losses[0] if self._losses else {}
        return {top: fmean(losses[top] for losses in self._losses) for top in tops}

    def images_per_second(self) -> float | None:
        return round(self._images / (time.perf_counter() - self._begun), 1) if self._losses else None


def _sources(
    tasks: Sequence[Task], sets: Sequence[Dataset], flip: bool, cache: Path, track: Track
) -> tuple[list[DatasetShare], dict[str, Images]]:
    """What is fitted on, and what is measured on for each top: the validation images, else the held-out ones."""
    shares, held_out = [], {}
    for task, data in zip(tasks, sets, strict=True):
        pixels = load_source(data.train, task.preprocess, cache, task.top, track)
        fitted = Images(pixels, data.train.labels, data.fitted, task.preprocess)
        shares.append(DatasetShare(fitted, task.batch, task.crop_border, flip, task.smallest_area, task.warp))
        if data.valid:
            held_out[task.top] = _all_of(data.valid, task, cache, track)
        elif data.holds_out:
            held_out[task.top] = Images(pixels, data.train.labels, datasets.holdout(data.train), task.preprocess)
    return shares, held_out


def _all_of(split: Split, task: Task, cache: Path, track: Track) -> Images:
    pixels = load_source(split, task.preprocess, cache, f"{task.top}: validation", track)
    return Images(pixels, split.labels, np.arange(len(split), dtype=np.int64), task.preprocess)


def _key(network: Network, seed: int, sets: Sequence[Dataset], start: Tensors | None) -> str:
    """Digest of all that decides the outcome: recipe, seed, images in their order, which are fitted, start weights."""
    # What is done after the last checkpoint decides nothing about one.
    parts = [network.model_dump_json(exclude={"weights": True, "fit": {"statistics_batches"}}), str(seed)]
    parts += [f"{data.ids} {data.train.labels.tolist()} {data.train.digests}" for data in sets]
    parts += [f"{data.valid.labels.tolist()} {data.valid.digests}" for data in sets if data.valid]
    # Were others held out than before, a fit that went on would be measured on images that it has seen.
    parts += [str(data.fitted.tolist()) for data in sets]
    parts += [sha256(networks.to_bytes(start)) if start is not None else "random"]
    return sha256("\n".join(parts).encode())[:24]
