"""The last states of a fit, on disk."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

from training.errors import TrainingError

logger = logging.getLogger(__name__)

_KEPT = 2


class Checkpoints:
    """Keeps the last two states of some variables; TensorFlow writes each one whole or not at all."""

    def __init__(self, folder: Path, variables: Sequence[tf.Variable]) -> None:
        # A list, not the objects that hold them: Keras's models do not show TensorFlow all of their variables; the
        # statistics of batch normalisation and dropout's random state would be missing.
        self._state = tf.train.Checkpoint(variables=list(variables))
        self._manager = tf.train.CheckpointManager(self._state, str(folder), max_to_keep=_KEPT)

    def save(self, step: int) -> None:
        """Write the variables as they are after `step` steps."""
        self._manager.save(checkpoint_number=step)

    def restore(self) -> bool:
        """Set the variables to the newest state that can be read; False where there is none.

        Raises:
            TrainingError: there are checkpoints, but none can be read.
        """
        for path in reversed(self._manager.checkpoints):
            try:
                self._state.restore(path).assert_consumed()
                return True
            except tf.errors.OpError:
                logger.warning("The checkpoint %s cannot be read; trying the one before", path)
        if self._manager.checkpoints:
            folder = self._manager.directory
            raise TrainingError(f"No checkpoint in {folder} can be read. Remove that folder to begin anew.")
        return False
