"""The last states of a fit, on disk; save() and restore() side by side."""

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

_KEPT = 2
_SUFFIX = ".checkpoint.safetensors"


class Checkpoints:
    """Keeps the last two states of some variables, each written whole or not at all."""

    def __init__(self, folder: Path, variables: Sequence[tf.Variable]) -> None:
        """Begin or find checkpoints.

        Args:
            folder: where they lie; of nothing but this fit.
            variables: always the same ones in the same order. They are not named: Keras's names depend on what else
                was built in a process.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._variables = list(variables)

    def save(self, step: int) -> None:
        """Write the variables as they are after `step` steps, then remove all but the last two."""
        path = self._folder / f"{step:09d}{_SUFFIX}"
        staging = path.with_suffix(".writing")
        with staging.open("wb") as file:
            file.write(save({str(i): np.asarray(variable.numpy()) for i, variable in enumerate(self._variables)}))
            file.flush()
            os.fsync(file.fileno())
        staging.rename(path)
        for old in self._newest_first()[_KEPT:]:
            old.unlink()

    def restore(self) -> bool:
        """Set the variables to the newest state that can be read; False where there is none.

        Raises:
            TrainingError: there are checkpoints, but none can be read.
        """
        paths = self._newest_first()
        for path in paths:
            try:
                values = load_file(path)
            except (SafetensorError, OSError) as error:
                logger.warning("The checkpoint %s cannot be read (%s); trying the one before", path, error)
                continue
            for i, variable in enumerate(self._variables):
                variable.assign(values[str(i)])
            return True
        if paths:
            raise TrainingError(f"No checkpoint in {self._folder} can be read. Remove that folder to begin anew.")
        return False

    def _newest_first(self) -> list[Path]:
        return sorted(self._folder.glob(f"*{_SUFFIX}"), reverse=True)
