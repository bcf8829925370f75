"""Threads for a fit that can be repeated to the last bit."""

from __future__ import annotations

import logging

import tensorflow as tf

from models.cpu import available_cores

logger = logging.getLogger(__name__)


def deterministic_threads(parts: int) -> None:
    """Spread a fit over all cores, either within operations or across them, never both.

    Operations that run at once and each use several threads share them as chance has it, and each split of a sum
    rounds differently: two fits would drift apart, and one that goes on after a kill from the one that was not
    killed. So a batch in one part is computed by one operation after another, each on all cores, and a batch in
    several parts by operations beside each other, each on one core. The second is faster: no core waits for another
    at the end of each operation. It has to happen before TensorFlow does anything in this process; later, a line in
    the log says so.

    Args:
        parts: of every batch.
    """
    cores = available_cores()
    beside, within = (1, cores) if parts == 1 else (cores, 1)
    try:
        tf.config.threading.set_inter_op_parallelism_threads(beside)
        tf.config.threading.set_intra_op_parallelism_threads(within)
    except RuntimeError:
        logger.warning("TensorFlow runs already with other threads: this fit cannot be repeated to the last bit")
