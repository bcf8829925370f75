"""TensorFlow's engine: the GPU's, and the reference on the CPU.

One graph from uint8 pixels to every output: the scaling is inside, batch normalisation is folded into the
convolutions. The weights stay variables: as constants they gain no speed on a CPU, and TensorFlow's copies of
them cost twice the memory and ten seconds more at start.

Each GPU has a graph of its own and takes two batches at a time, so that one is copied while the other is computed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

import numpy as np
import numpy.typing as npt

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # has to be set before the first import

import keras
import tensorflow as tf

from models import networks
from models.arrays import Pixels
from models.engines.base import Outputs, ReadFile, Runner
from models.engines.batch_norm_folding import fold_batch_normalization
from models.manifests import WEIGHTS_FILE, ExtractorManifest

logger = logging.getLogger(__name__)

_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


@dataclass(frozen=True, eq=False)
class _Graph:
    """A network on a device."""

    device: str
    function: Any
    model: keras.Model
    """Kept because the function holds its variables by weak references alone."""

    def __call__(self, batch: Pixels) -> Mapping[str, tf.Tensor]:
        with tf.device(self.device):
            outputs: Mapping[str, tf.Tensor] = self.function(tf.constant(batch))
            return outputs


class TensorFlowEngine:
    """An extractor as a TensorFlow graph on each device."""

    def __init__(
        self,
        precision: str,
        manifest: ExtractorManifest,
        read: ReadFile,
        threads: int,
        devices: Sequence[str] | None = None,
    ) -> None:
        """Build the network, load its weights, fold and trace it, once for each device.

        Args:
            precision: `float32`, or `bfloat16` or `float16` between the layers, with weights in float32.
            manifest: names the network, its input size and its tops.
            read: gives the weights file.
            threads: of TensorFlow's operations on the CPU; the first engine of a process decides.
            devices: by TensorFlow's names; none means all GPUs, or the CPU where there are none.

        Raises:
            WeightsError: the tensors do not fit the network.
        """
        _use_threads(threads)
        self.name = f"tensorflow:{precision}"
        there = devices or gpus() or ["CPU:0"]
        tensors = networks.from_bytes(read(WEIGHTS_FILE))
        tops = {top: len(classes) for top, classes in manifest.tops.items()}
        self._size = manifest.input_size
        self._graphs = [_graph(device, precision, manifest, tops, tensors) for device in there]
        self.shares_cores = not any("GPU" in device for device in there)
        turns = 1 if self.shares_cores else 2
        self.max_concurrent_runs = turns * len(self._graphs)
        self._free: SimpleQueue[_Graph] = SimpleQueue()
        for graph in self._graphs * turns:
            self._free.put(graph)

    @property
    def graph(self) -> Any:
        """The first device's concrete function: uint8 [n, size, size, 3] -> the outputs by name."""
        return self._graphs[0].function

    @property
    def concurrent(self) -> Runner:
        """Itself."""
        return self

    def preferred_batch_sizes(self, max_batch: int) -> Sequence[int]:
        """All: a graph takes any."""
        return range(1, max_batch + 1)

    def warmup(self, max_batch: int) -> None:
        """Run every device's graph once and once at its largest: memory, and on GPUs the choice of algorithms."""
        for graph in self._graphs:
            for size in sorted({1, max_batch}):
                _run(graph, np.zeros((size, self._size, self._size, 3), np.uint8))

    def run(self, batch: Pixels) -> Outputs:
        """uint8 [n, size, size, 3] -> every output of the extractor, float32 [n, width].

        A batch for which a device has too little memory is halved, until it is of one image.
        """
        graph = self._free.get()
        try:
            return _run(graph, batch)
        finally:
            self._free.put(graph)


def gpus() -> list[str]:
    """The GPUs that TensorFlow sees, by its names for them."""
    return [device.name for device in tf.config.list_logical_devices("GPU")]


def _run(graph: _Graph, batch: Pixels) -> Outputs:
    try:
        return {name: value.numpy() for name, value in graph(batch).items()}
    except tf.errors.ResourceExhaustedError:
        if len(batch) == 1:
            raise
        logger.warning("A device has too little memory for a batch of %d; it is halved", len(batch))
        halves = [_run(graph, half) for half in np.array_split(batch, 2)]
        return {name: np.concatenate([half[name] for half in halves]) for name in halves[0]}


def _use_threads(threads: int) -> None:
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:  # TensorFlow is running already and keeps the threads it has
        logger.debug("TensorFlow is already initialised; its number of threads stays as it is")


def _graph(
    device: str,
    precision: str,
    manifest: ExtractorManifest,
    tops: Mapping[str, int],
    tensors: Mapping[str, npt.NDArray[Any]],
) -> _Graph:
    with tf.device(device), _computing_in(_POLICIES[precision]):
        model = networks.build(manifest.network, manifest.input_size, tops)
        networks.assign(model, tensors)
        folded = fold_batch_normalization(model)
        return _Graph(device, _trace(folded, manifest), folded)


@contextmanager
def _computing_in(policy: str) -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _trace(model: keras.Model, manifest: ExtractorManifest) -> Any:
    def serve(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = model(networks.scale(pixels, manifest.scaling), training=False)
        return {name: tf.cast(value, tf.float32) for name, value in outputs.items()}

    size = manifest.input_size
    signature = [tf.TensorSpec([None, size, size, 3], tf.uint8)]
    return tf.function(serve, input_signature=signature).get_concrete_function()
