"""The training loop: steps, records, checkpoints and early stopping."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING

from models.console.progress import Advance
from training.network.batches import DatasetShare, LabelledImages, make_batch, prefetch
from training.network.early_stopping import best_record, should_stop
from training.network.history import History, HistoryRecord, TopMetrics
from training.network.schedule import Schedule

if TYPE_CHECKING:  # these import TensorFlow
    from training.network.checkpoints import Checkpoints
    from training.network.trainer import Trainer

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
        held_out: images that the network is evaluated on, by top.
        seed: of the batches.
    """

    schedule: Schedule
    trainer: Trainer
    checkpoints: Checkpoints
    history: History
    shares: Sequence[DatasetShare]
    held_out: Mapping[str, LabelledImages]
    seed: int

    def run(self, advance: Advance) -> None:
        """Take the remaining steps, or fewer if early stopping ends the fit.

        Args:
            advance: called with the number of images fitted since the last call.
        """
        first_step = self.trainer.steps_done
        advance(first_step * self.schedule.images_per_step)
        if first_step == 0:
            self._record(0, _Interval())
        if self._should_stop():
            return
        steps = range(first_step, self.schedule.steps)
        batches = prefetch(partial(make_batch, self.shares, self.seed, self.schedule.image_size), steps)
        interval = _Interval()
        for step, batch in enumerate(batches, first_step + 1):
            interval.add(self.trainer.train_step(batch), len(batch.pixels))
            advance(len(batch.pixels))
            if self.schedule.records_history(step):
                self._record(step, interval)
                interval = _Interval()
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
        """Recompute the batch normalization statistics on images without augmentation; evaluate the network again.

        This follows the last checkpoint and depends on its weights only, so a run that is killed here repeats it.
        """
        shares = [replace(share, crop_border=0, smallest_area=1) for share in self.shares]
        unaugmented = prefetch(partial(make_batch, shares, self.seed, lambda _: None), range(batches))
        self.trainer.recompute_batch_norm(batch.pixels for batch in unaugmented)
        self.history.replace_last_holdout(self._evaluate())

    def _should_stop(self) -> bool:
        stop = self.schedule.fit.stop
        return stop is not None and should_stop(self.history.records, stop)

    def _record(self, step: int, interval: _Interval) -> None:
        """Append a record to the history; keep the weights if this pass is the best so far."""
        record = HistoryRecord(
            step=step,
            passes=round(step / self.schedule.steps_per_pass, 4),
            learning_rate=self.trainer.learning_rate,
            loss=interval.mean_losses(),
            images_per_second=interval.images_per_second(),
            holdout=self._evaluate() if self.schedule.evaluates(step) else None,
        )
        self.history.append(record)
        if self.schedule.fit.stop and best_record(self.history.records, self.schedule.fit.stop) is record:
            self.trainer.keep_weights()
        logger.info("%s", record)

    def _evaluate(self) -> dict[str, TopMetrics]:
        return {
            top: self.trainer.evaluate(top, images.chunks(_EVALUATION_BATCH)) for top, images in self.held_out.items()
        }


class _Interval:
    """Losses and throughput of consecutive steps, averaged into one record."""

    def __init__(self) -> None:
        self._losses: list[dict[str, float]] = []
        self._images = 0
        self._started = time.perf_counter()

    def add(self, losses: dict[str, float], images: int) -> None:
        self._losses.append(losses)
        self._images += images

    def mean_losses(self) -> dict[str, float]:
        tops = self._losses[0] if self._losses else {}
        return {top: fmean(losses[top] for losses in self._losses) for top in tops}

    def images_per_second(self) -> float | None:
        return round(self._images / (time.perf_counter() - self._started), 1) if self._losses else None
