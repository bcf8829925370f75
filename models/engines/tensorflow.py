"""TensorFlow engine, for GPUs; also the reference on the CPU.

One graph computes every output from uint8 pixels: it includes the scaling, and batch normalization is folded into the
convolutions. The weights stay variables: constants would be no faster on a CPU, but TensorFlow's copies of them would
double the memory and add ten seconds to the startup.

Each GPU has its own graph and runs two batches concurrently, so that one is copied while the other is computed.
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

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # must be set before the first import

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
    """A traced network on a device."""

    device: str
    function: Any
    model: keras.Model
    """Keeps the variables alive: the function refers to them only weakly."""

    def __call__(self, batch: Pixels) -> Mapping[str, tf.Tensor]:
        with tf.device(self.device):
            outputs: Mapping[str, tf.Tensor] = self.function(tf.constant(batch))
            return outputs


class TensorFlowEngine:
    """An extractor as one TensorFlow graph per device."""

    def __init__(
        self,
        precision: str,
        manifest: ExtractorManifest,
        read: ReadFile,
        threads: int,
        devices: Sequence[str] | None = None,
    ) -> None:
        """Build the network, load its weights, fold batch normalization and trace the graph, for each device.

        Args:
            precision: `float32`, or `bfloat16` or `float16` between the layers, with float32 weights.
            manifest: the extractor's manifest.
            read: reads the extractor's files.
            threads: CPU threads of TensorFlow; the first engine of a process sets them.
            devices: TensorFlow device names; None: all GPUs, or the CPU if there are none.

        Raises:
            WeightsError: the tensors do not match the network.
        """
        _set_threads(threads)
        self.name = f"tensorflow:{precision}"
        used_devices = devices or gpus() or ["CPU:0"]
        tensors = networks.from_bytes(read(WEIGHTS_FILE))
        tops = {top: len(classes) for top, classes in manifest.tops.items()}
        self._size = manifest.input_size
        self._graphs = [_build_graph(device, precision, manifest, tops, tensors) for device in used_devices]
        self.shares_cores = not any("GPU" in device for device in used_devices)
        runs_per_device = 1 if self.shares_cores else 2
        self.max_concurrent_runs = runs_per_device * len(self._graphs)
        self._idle_graphs: SimpleQueue[_Graph] = SimpleQueue()
        for graph in self._graphs * runs_per_device:
            self._idle_graphs.put(graph)

    @property
    def graph(self) -> Any:
        """The first device's concrete function: uint8 [n, size, size, 3] -> outputs by name."""
        return self._graphs[0].function

    @property
    def concurrent(self) -> Runner:
        """This engine."""
        return self

    def preferred_batch_sizes(self, max_batch: int) -> Sequence[int]:
        """Return all sizes: a graph needs no padding."""
        return range(1, max_batch + 1)

    def warmup(self, max_batch: int) -> None:
        """Run the smallest and the largest batch on every device: allocates memory and selects GPU algorithms."""
        for graph in self._graphs:
            for size in sorted({1, max_batch}):
                _run(graph, np.zeros((size, self._size, self._size, 3), np.uint8))

    def run(self, batch: Pixels) -> Outputs:
        """uint8 [n, size, size, 3] -> every output of the extractor, float32 [n, width].

        If a device runs out of memory, the batch is halved, down to single images.
        """
        graph = self._idle_graphs.get()
        try:
            return _run(graph, batch)
        finally:
            self._idle_graphs.put(graph)


def gpus() -> list[str]:
    """Return TensorFlow's names of the GPUs."""
    return [device.name for device in tf.config.list_logical_devices("GPU")]


def _run(graph: _Graph, batch: Pixels) -> Outputs:
    try:
        return {name: value.numpy() for name, value in graph(batch).items()}
    except tf.errors.ResourceExhaustedError:
        if len(batch) == 1:
            raise
        logger.warning("Device out of memory for a batch of %d; running it in two halves", len(batch))
        halves = [_run(graph, half) for half in np.array_split(batch, 2)]
        return {name: np.concatenate([half[name] for half in halves]) for name in halves[0]}


def _set_threads(threads: int) -> None:
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        logger.debug("TensorFlow is already initialized; its number of threads does not change")


def _build_graph(
    device: str,
    precision: str,
    manifest: ExtractorManifest,
    tops: Mapping[str, int],
    tensors: Mapping[str, npt.NDArray[Any]],
) -> _Graph:
    with tf.device(device), _dtype_policy(_POLICIES[precision]):
        model = networks.build(manifest.network, manifest.input_size, tops)
        networks.set_tensors(model, tensors)
        folded = fold_batch_normalization(model)
        return _Graph(device, _trace(folded, manifest), folded)


@contextmanager
def _dtype_policy(policy: str) -> Iterator[None]:
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(previous)


def _trace(model: keras.Model, manifest: ExtractorManifest) -> Any:
    def serve(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = model(networks.scale(pixels, manifest.scaling), training=False)
        return {name: tf.cast(value, tf.float32) for name, value in outputs.items()}

    size = manifest.input_size
    signature = [tf.TensorSpec([None, size, size, 3], tf.uint8)]
    return tf.function(serve, autograph=False, input_signature=signature).get_concrete_function()
