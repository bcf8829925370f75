"""TensorFlow's engine: the GPU's, and the reference on the CPU.

One graph from uint8 pixels to every output: the scaling is inside, batch normalisation is folded into the
convolutions. The weights stay variables: as constants they gain no speed on a CPU, and TensorFlow's copies of
them cost twice the memory and ten seconds more at start.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # has to be set before the first import

import keras
import tensorflow as tf

from models import networks
from models.engines import Outputs
from models.engines.folding import fold_batch_normalization
from models.image import Pixels
from models.manifests import ExtractorManifest

logger = logging.getLogger(__name__)


class TensorFlowEngine:
    """An extractor as a TensorFlow graph in float32."""

    name = "tensorflow:float32"

    def __init__(self, manifest: ExtractorManifest, tensors: Mapping[str, npt.NDArray[Any]], threads: int) -> None:
        """Build the network, load `tensors` into it, fold and trace it.

        Args:
            manifest: names the network, its input size and its tops.
            tensors: the weights, as in the weights file.
            threads: of TensorFlow's operations on the CPU; the first engine of a process decides.

        Raises:
            WeightsError: the tensors do not fit the network.
        """
        _use_threads(threads)
        tops = {top: len(classes) for top, classes in manifest.tops.items()}
        model = networks.build(manifest.network, manifest.input_size, tops)
        networks.assign(model, tensors)
        self._graph = _trace(fold_batch_normalization(model), manifest)

    def run(self, batch: Pixels) -> Outputs:
        """uint8 [n, size, size, 3] -> every output of the extractor, float32 [n, width]."""
        return {name: value.numpy() for name, value in self._graph(tf.constant(batch)).items()}


def _use_threads(threads: int) -> None:
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:  # TensorFlow is running already and keeps the threads it has
        logger.debug("TensorFlow is already initialised; its number of threads stays as it is")


def _trace(model: keras.Model, manifest: ExtractorManifest) -> Any:
    def serve(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs: dict[str, tf.Tensor] = model(networks.scale(pixels, manifest.scaling), training=False)
        return outputs

    size = manifest.input_size
    signature = [tf.TensorSpec([None, size, size, 3], tf.uint8)]
    return tf.function(serve, input_signature=signature).get_concrete_function()
