"""OpenVINO's engine: the CPU's.

The network comes as OpenVINO's own file, quantised or not, so that serving needs no TensorFlow. One graph from uint8
pixels to every output; the batch's size is free.
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

_HINTS = {"int8": "f32", "bfloat16": "bf16", "float32": "f32"}
_MOST_LANES = 4  # each has memory of its own for a batch


class OpenVinoEngine:
    """An extractor as OpenVINO compiles it for this processor."""

    shares_cores = True

    def __init__(self, precision: str, read: ReadFile, threads: int) -> None:
        """Read the network and compile it.

        Args:
            precision: `int8`, for which the network has been quantised, `bfloat16` or `float32`.
            read: gives the extractor's files.
            threads: of all lanes together.

        Raises:
            CorruptArtifact: the files hold no network.
        """
        self.name, self.max_concurrent_runs = f"openvino:{precision}", min(threads, _MOST_LANES)
        files = engine_files(self.name)
        core = ov.Core()
        try:
            network = core.read_model(*(read(file) for file in files))
            self._whole = _Compiled(self.name, core, network, threads, streams=1)
            self.concurrent = (
                _Compiled(self.name, core, network, threads, streams=self.max_concurrent_runs)
                if threads > 1
                else self._whole
            )
        except RuntimeError as error:
            raise CorruptArtifact(f"OpenVINO cannot read {files[0]}: {str(error).splitlines()[0]}") from error

    def preferred_batch_sizes(self, max_batch: int) -> Sequence[int]:
        """1, 2, 4, 8, 12, 16, 24, 32, 48, ..., and `max_batch` itself."""
        powers = range(max_batch.bit_length())
        steps = {1 << power for power in powers} | {12 << power for power in powers}
        return sorted({max_batch, *(size for size in steps if size < max_batch)})

    def warmup(self, max_batch: int) -> None:
        """Run some sizes once, on all cores and in every lane; batches of others are padded to these from now on.

        The first run of a size takes some 50 ms, and its plan some megabytes.
        """
        sizes = self.preferred_batch_sizes(max_batch)
        self._whole.warmup(sizes, streams=1)
        if self.max_concurrent_runs > 1:
            self.concurrent.warmup(
                [size for size in sizes if size >= max_batch // (2 * self.max_concurrent_runs)],
                self.max_concurrent_runs,
            )

    def run(self, batch: Pixels) -> Outputs:
        """uint8 [n, size, size, 3] -> every output of the extractor, float32 [n, width]; on all threads."""
        return self._whole.run(batch)


class _Compiled:
    """A network for a number of batches at a time, each on its share of the threads.

    More of them take longer, and less of the cores' time, since fewer threads wait for each other at the end of each
    layer.
    """

    def __init__(self, name: str, core: ov.Core, network: ov.Model, threads: int, *, streams: int) -> None:
        self.name = name
        self._compiled = core.compile_model(
            network,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": _HINTS[name.partition(":")[2]],
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": streams,
                "ENABLE_CPU_PINNING": streams == 1,  # else images are decoded meanwhile, on whatever core is free
                "PERFORMANCE_HINT": "LATENCY",
            },
        )
        self._own = threading.local()
        self._warm: Sequence[int] = ()  # ascending
        _, *sides = self._compiled.input(0).get_partial_shape()
        self._shape = tuple(side.get_length() for side in sides)  # of one picture

    def warmup(self, sizes: Sequence[int], streams: int) -> None:
        """Run each size once in as many threads."""
        with ThreadPoolExecutor(streams) as threads:
            for size in sizes:
                list(threads.map(self.run, [np.zeros((size, *self._shape), np.uint8)] * streams))
        self._warm = sizes

    def run(self, batch: Pixels) -> Outputs:
        count = len(batch)
        size = next((size for size in self._warm if size >= count), count)
        if size > count:
            batch = np.concatenate([batch, np.zeros((size - count, *self._shape), np.uint8)])
        found = self._request().infer({0: batch}, share_inputs=True)
        return {output.get_any_name(): np.array(values[:count], np.float32) for output, values in found.items()}

    def _request(self) -> ov.InferRequest:
        """Each thread's own, with its own memory."""
        if not hasattr(self._own, "request"):
            self._own.request = self._compiled.create_infer_request()
        request: ov.InferRequest = self._own.request
        return request
