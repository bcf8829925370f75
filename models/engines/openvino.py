"""OpenVINO engine, for CPUs.

The network is stored in OpenVINO's own format, quantized or not, so that serving needs no TensorFlow. One graph
computes every output from uint8 pixels, for batches of any size.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import openvino as ov

from models.arrays import Pixels
from models.engines.base import Outputs, ReadFile
from models.errors import CorruptArtifact
from models.manifests import engine_files

_PRECISION_HINTS = {"int8": "f32", "bfloat16": "bf16", "float32": "f32"}
_MAX_CONCURRENT_RUNS = 4  # each has its own memory for a batch


class OpenVinoEngine:
    """An extractor compiled by OpenVINO for the CPU, once for single batches and once for concurrent ones."""

    shares_cores = True

    def __init__(self, precision: str, read: ReadFile, threads: int) -> None:
        """Read and compile the network.

        Args:
            precision: `int8` for a quantized network, `bfloat16` or `float32`.
            read: reads the extractor's files.
            threads: number of threads, shared by concurrent runs.

        Raises:
            CorruptArtifact: the files contain no network.
        """
        self.name, self.max_concurrent_runs = f"openvino:{precision}", min(threads, _MAX_CONCURRENT_RUNS)
        files = engine_files(self.name)
        core = ov.Core()
        try:
            network = core.read_model(*(read(file) for file in files))
            self._single = _CompiledNetwork(self.name, core, network, threads, streams=1)
            self.concurrent = (
                _CompiledNetwork(self.name, core, network, threads, streams=self.max_concurrent_runs)
                if threads > 1
                else self._single
            )
        except RuntimeError as error:
            raise CorruptArtifact(f"OpenVINO cannot read {files[0]}: {str(error).splitlines()[0]}") from error

    def preferred_batch_sizes(self, max_batch: int) -> Sequence[int]:
        """Return 1, 2, 4, 8, 12, 16, 24, 32, 48, ..., and `max_batch` itself."""
        powers = range(max_batch.bit_length())
        sizes = {1 << power for power in powers} | {12 << power for power in powers}
        return sorted({max_batch, *(size for size in sizes if size < max_batch)})

    def warmup(self, max_batch: int) -> None:
        """Run each preferred size once; afterwards, other batches are padded to these sizes.

        The first run of a size takes about 50 ms and some megabytes. Therefore concurrent runs, which execute parts of
        large batches, skip sizes below `max_batch / (2 * max_concurrent_runs)`.
        """
        sizes = self.preferred_batch_sizes(max_batch)
        self._single.warmup(sizes, streams=1)
        if self.max_concurrent_runs > 1:
            self.concurrent.warmup(
                [size for size in sizes if size >= max_batch // (2 * self.max_concurrent_runs)],
                self.max_concurrent_runs,
            )

    def run(self, batch: Pixels) -> Outputs:
        """uint8 [n, size, size, 3] -> every output of the extractor, float32 [n, width]; uses all threads."""
        return self._single.run(batch)


class _CompiledNetwork:
    """A network compiled for a number of streams, which run batches concurrently, each on a share of the threads.

    More streams increase latency and save CPU time, because fewer threads wait for each other after each layer.
    """

    def __init__(self, name: str, core: ov.Core, network: ov.Model, threads: int, *, streams: int) -> None:
        self.name = name
        self._compiled = core.compile_model(
            network,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": _PRECISION_HINTS[name.partition(":")[2]],
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": streams,
                "ENABLE_CPU_PINNING": streams == 1,  # concurrent runs share the cores with image decoding
                "PERFORMANCE_HINT": "LATENCY",
            },
        )
        self._thread_local = threading.local()
        self._warm_sizes: Sequence[int] = ()  # ascending
        _, *sides = self._compiled.input(0).get_partial_shape()
        self._image_shape = tuple(side.get_length() for side in sides)

    def warmup(self, sizes: Sequence[int], streams: int) -> None:
        """Run each size once in each of `streams` threads."""
        with ThreadPoolExecutor(streams) as threads:
            for size in reversed(sizes):  # smaller batches then take little memory besides that of the largest
                list(threads.map(self.run, [np.zeros((size, *self._image_shape), np.uint8)] * streams))
        self._warm_sizes = sizes

    def run(self, batch: Pixels) -> Outputs:
        count = len(batch)
        size = next((size for size in self._warm_sizes if size >= count), count)
        if size > count:
            batch = np.concatenate([batch, np.zeros((size - count, *self._image_shape), np.uint8)])
        results = self._request().infer({0: batch}, share_inputs=True)
        return {output.get_any_name(): np.array(values[:count], np.float32) for output, values in results.items()}

    def _request(self) -> ov.InferRequest:
        """Return the inference request of this thread; each has its own memory."""
        if not hasattr(self._thread_local, "request"):
            self._thread_local.request = self._compiled.create_infer_request()
        request: ov.InferRequest = self._thread_local.request
        return request
