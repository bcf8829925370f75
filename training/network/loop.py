"""The training loop: steps, records, checkpoints and early stopping."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING

from models.console.progress import Advance
from training.network.early_stopping import best_record, should_stop
from training.network.history import History, HistoryRecord, TeacherMetrics, TopMetrics
from training.network.images.batches import DatasetShare, LabelledImages, make_batch, prefetch
from training.network.schedule import Schedule
from training.recipes.network import Task

if TYPE_CHECKING:  # these import TensorFlow
    from training.network.checkpoints import Checkpoints
    from training.network.trainer import StepResult, Trainer

logger = logging.getLogger(__name__)

_EVALUATION_BATCH = 64


@dataclass(frozen=True, eq=False)
class TrainingLoop:
    """One fit of a network, from wherever its trainer stands to its last step.

    Attributes:
        schedule: number of steps, and after which of them something happens.
        trainer: the network; its step counter is where the loop starts.
        checkpoints: of the trainer's variables.
        history: ends at the trainer's step.
        shares: what each batch is made of.
        held_out: images that the network is evaluated on, and their task.
        seed: of the batches.
        log: receives a line for each step that is skipped.
    """

    schedule: Schedule
    trainer: Trainer
    checkpoints: Checkpoints
    history: History
    shares: Sequence[DatasetShare]
    held_out: Sequence[tuple[Task, LabelledImages]]
    seed: int
    log: Callable[[str], None] = logger.info

    def run(self, advance: Advance) -> None:
        """Take the remaining steps, or fewer if early stopping ends the fit.

        Args:
            advance: called with the number of images fitted since the last call.
        """
        first_step = self.trainer.steps_done
        advance(first_step * self.schedule.images_per_step)
        if first_step == 0:
            self._record(0, _Interval(self.log))
        if self._should_stop():
            return
        steps = range(first_step, self.schedule.steps)
        batches = prefetch(partial(make_batch, self.shares, self.seed, self.schedule.image_size), steps)
        interval = _Interval(self.log)
        for step, batch in enumerate(batches, first_step + 1):
            interval.add(step, self.trainer.train_step(batch), len(batch.pixels))
            advance(len(batch.pixels))
            if self.schedule.records_history(step):
                self._record(step, interval)
                interval = _Interval(self.log)
            if self.schedule.saves_checkpoint(step):
                self.checkpoints.save(step)
            if self._should_stop():
                return

    def restore_best_weights(self) -> HistoryRecord:
        """Set the network to the weights of the best pass and return its record; needs early stopping."""
        assert self.schedule.fit.stop is not None
        self.trainer.restore_kept_weights()
        return best_record(self.history.records, self.schedule.fit.stop) or self.history.records[-1]

    def recompute_batch_norm(self, batches: int) -> None:
        """Recompute the batch normalization statistics on images without augmentation.

        This follows the last checkpoint and depends on its weights only, so a run that is killed here repeats it.
        """
        shares = [
            replace(share, crop_border=0, smallest_area=1, warp=None, images=replace(share.images, teacher=None))
            for share in self.shares
        ]
        unaugmented = prefetch(partial(make_batch, shares, self.seed, lambda _: None), range(batches))
        self.trainer.recompute_batch_norm(batch.pixels for batch in unaugmented)

    def evaluate_again(self) -> HistoryRecord:
        """Replace the metrics of the last record, after its weights or statistics were replaced; return the record."""
        self.history.replace_last_metrics(*self._evaluate())
        return self.history.records[-1]

    def _should_stop(self) -> bool:
        stop = self.schedule.fit.stop
        return stop is not None and should_stop(self.history.records, stop)

    def _record(self, step: int, interval: _Interval) -> None:
        """Append a record to the history; keep the weights if this pass is the best so far."""
        holdout, teacher = self._evaluate() if self.schedule.evaluates(step) else (None, None)
        record = HistoryRecord(
            step=step,
            passes=round(step / self.schedule.steps_per_pass, 4),
            learning_rate=self.trainer.learning_rate,
            loss=interval.mean(lambda result: result.losses),
            teacher_loss=interval.mean(lambda result: result.teacher_losses) or None,
            skipped_steps=interval.skipped_steps or None,
            images_per_second=interval.images_per_second(),
            holdout=holdout,
            teacher=teacher,
        )
        self.history.append(record)
        if self.schedule.fit.stop and best_record(self.history.records, self.schedule.fit.stop) is record:
            self.trainer.keep_weights()
        logger.info("%s", record)

    def _evaluate(self) -> tuple[dict[str, TopMetrics], dict[str, TeacherMetrics] | None]:
        """Return metrics by labels and by the teacher; without a teacher, None instead of the latter."""
        holdout, taught = {}, {}
        for task, images in self.held_out:
            by_labels, by_teacher = self.trainer.evaluate(task, images.chunks(_EVALUATION_BATCH))
            if by_labels:
                holdout[task.top] = by_labels
            if by_teacher:
                taught[task.top] = by_teacher
        return holdout, taught or None


class _Interval:
    """Losses and throughput of consecutive steps, averaged into one record."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._results: list[StepResult] = []
        self._images = 0
        self._started = time.perf_counter()
        self.skipped_steps = 0

    def add(self, step: int, result: StepResult, images: int) -> None:
        self._images += images
        if result.is_skipped:
            self.skipped_steps += 1
            self._log(f"Skipped step {step:,}: its gradients were not finite")
        else:
            self._results.append(result)

    def mean(self, losses_of: Callable[[StepResult], dict[str, float]]) -> dict[str, float]:
        """Return the mean loss of each task over the steps that were taken; empty if there are none."""
        losses = [losses_of(result) for result in self._results]
        return {top: fmean(of_step[top] for of_step in losses) for top in (losses[0] if losses else ())}

    def images_per_second(self) -> float | None:
        return round(self._images / (time.perf_counter() - self._started), 1) if self._images else None
