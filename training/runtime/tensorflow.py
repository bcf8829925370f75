"""TensorFlow settings of a fit on a CPU: oneDNN, bfloat16 and reproducible threads.

TensorFlow is imported inside the functions, because `enable_onednn` has to run before its first import.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models.cpu import CPUINFO, available_cores, has_bfloat16

logger = logging.getLogger(__name__)

#: oneDNN's automatic mixed precision: about 1.6 times as fast as float32 where the processor has bfloat16.
_BFLOAT16_OPTION = "auto_mixed_precision_onednn_bfloat16"


def enable_onednn() -> None:
    """Make TensorFlow compute with oneDNN. Call this before TensorFlow is first imported.

    By default TensorFlow uses oneDNN on newer processors only. On those without AVX-512, a training step of
    InceptionV3 (96 px, 64 images, 2 cores) takes 1.7 times as long without it; inference takes the same time.
    """
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


@contextmanager
def fastest_precision(cpuinfo: Path = CPUINFO) -> Iterator[str]:
    """Fit in bfloat16 within this context if the processor supports it, else in float32.

    The Keras/TensorFlow precision setting applies to the whole process. It is restored afterwards, because features may
    be extracted later in the same process and their engine promises float32.

    Yields:
        `bfloat16` or `float32`.
    """
    import tensorflow as tf

    precision = "bfloat16" if has_bfloat16(cpuinfo) else "float32"
    previous = tf.config.optimizer.get_experimental_options().get(_BFLOAT16_OPTION, False)
    tf.config.optimizer.set_experimental_options({_BFLOAT16_OPTION: precision == "bfloat16"})
    try:
        yield precision
    finally:
        tf.config.optimizer.set_experimental_options({_BFLOAT16_OPTION: previous})


def set_deterministic_threads(parts: int) -> None:
    """Use all cores either within operations or across them, never both, so that a fit can be repeated exactly.

    Concurrent operations that are also split over threads share those threads in a random way. Each split of a sum
    rounds differently, so two fits would drift apart, and so would a resumed fit from an uninterrupted one. Therefore
    a batch in one part is computed by one operation at a time on all cores, and a batch in several parts by several
    operations at a time on one core each. The latter is faster, because no core waits for the others at the end of
    each operation.

    TensorFlow accepts this only before its first operation in this process; later calls log a warning.

    Args:
        parts: number of parts that every batch is split into.
    """
    import tensorflow as tf

    cores = available_cores()
    inter_op, intra_op = (1, cores) if parts == 1 else (cores, 1)
    try:
        tf.config.threading.set_inter_op_parallelism_threads(inter_op)
        tf.config.threading.set_intra_op_parallelism_threads(intra_op)
    except RuntimeError:
        logger.warning("TensorFlow already runs with other thread settings: this fit is not exactly reproducible")
