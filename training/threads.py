"""Threads for a fit that can be repeated to the last bit."""

from __future__ import annotations

import logging

import tensorflow as tf

from models.cores import available_cores

logger = logging.getLogger(__name__)


def one_operation_at_a_time() -> None:
    """Let TensorFlow use all cores for one operation after another, instead of several at once.

    Operations that run at once share the threads as chance has it, and each split of a sum rounds differently:
    two fits would drift apart, and one that goes on after a kill from the one that was not killed. It costs no
    time. It has to happen before TensorFlow does anything in this process; later, a line in the log says so.
    """
    try:
        tf.config.threading.set_inter_op_parallelism_threads(1)
        tf.config.threading.set_intra_op_parallelism_threads(available_cores())
    except RuntimeError:
        logger.warning("TensorFlow runs already with other threads: this fit cannot be repeated to the last bit")
