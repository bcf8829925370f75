"""Checkpoints of a fit on disk.

`tf.train.CheckpointManager` is not used, because it

- restores the newest checkpoint only, and fails if that one is damaged,
- starts over silently if its index file is missing,
- does not flush files to disk before it renames them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from training.errors import TrainingError

logger = logging.getLogger(__name__)

#: The newest checkpoint, and one to fall back to if it is damaged.
_MAX_CHECKPOINTS = 2
_SUFFIX = ".checkpoint.safetensors"


class Checkpoints:
    """Keeps the last two states of some variables. Each state is written whole or not at all."""

    def __init__(self, folder: Path, variables: Sequence[tf.Variable]) -> None:
        """Open the folder, which is created if it is missing.

        Args:
            folder: for the checkpoints of this fit only.
            variables: always the same ones in the same order. They are stored by their position, because Keras's
                names depend on what else was built in the process.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._variables = list(variables)

    def save(self, step: int) -> None:
        """Write the variables as they are after `step` steps, then delete all but the last two checkpoints."""
        path = self._folder / f"{step:09d}{_SUFFIX}"
        staging = path.with_suffix(".writing")
        with staging.open("wb") as file:
            file.write(save({str(i): np.asarray(variable.numpy()) for i, variable in enumerate(self._variables)}))
            file.flush()
            os.fsync(file.fileno())
        staging.rename(path)
        for outdated in self._newest_first()[_MAX_CHECKPOINTS:]:
            outdated.unlink()

    def restore(self) -> bool:
        """Set the variables to the newest readable checkpoint; return False if there are no checkpoints.

        Raises:
            TrainingError: there are checkpoints, but none of them can be read.
        """
        paths = self._newest_first()
        for path in paths:
            try:
                values = load_file(path)
            except (SafetensorError, OSError) as error:
                logger.warning("Checkpoint %s cannot be read (%s); trying the one before it", path, error)
                continue
            for i, variable in enumerate(self._variables):
                variable.assign(values[str(i)])
            return True
        if paths:
            raise TrainingError(f"No checkpoint in {self._folder} can be read. Delete that folder to start over.")
        return False

    def _newest_first(self) -> list[Path]:
        return sorted(self._folder.glob(f"*{_SUFFIX}"), reverse=True)
