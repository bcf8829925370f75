"""OpenVINO engine on a tiny network: the mean of each colour channel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from models.arrays import Pixels
from models.engines.base import Outputs
from models.engines.openvino import OpenVinoEngine
from models.errors import CorruptArtifact
from models.manifests import engine_files
from tests.support.images import noise

SIDE = 32


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> OpenVinoEngine:
    pixels = ops.parameter([-1, SIDE, SIDE, 3], np.uint8, name="pixels")
    means = ops.reduce_mean(ops.convert(pixels, "f32"), ops.constant([1, 2]), keep_dims=False)
    means.output(0).set_names({"means"})
    folder: Path = tmp_path_factory.mktemp("network")
    network, weights = engine_files("openvino:float32")
    ov.save_model(ov.Model([means], [pixels]), folder / network, compress_to_fp16=False)
    assert (folder / weights).exists()
    return OpenVinoEngine("float32", lambda file: (folder / file).read_bytes(), threads=2)


def batch(count: int) -> Pixels:
    return np.stack([noise(SIDE, SIDE, seed=seed) for seed in range(count)])


@pytest.mark.parametrize("is_warm", [False, True])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 9, 20])
def test_any_batch_size_returns_one_row_per_image(engine: OpenVinoEngine, count: int, is_warm: bool) -> None:
    if is_warm:
        engine.warmup(8)
    pixels = batch(count)
    for run in (engine.run, engine.concurrent.run):
        outputs = run(pixels)["means"]
        assert outputs.shape == (count, 3)
        assert outputs.dtype == np.float32
        assert np.allclose(outputs, pixels.mean((1, 2)), atol=1e-2)


@pytest.mark.parametrize(
    ("max_batch", "sizes"), [(1, [1]), (3, [1, 2, 3]), (16, [1, 2, 4, 8, 12, 16]), (20, [1, 2, 4, 8, 12, 16, 20])]
)
def test_preferred_batch_sizes_end_with_the_maximum(engine: OpenVinoEngine, max_batch: int, sizes: list[int]) -> None:
    assert engine.preferred_batch_sizes(max_batch) == sizes


def test_files_without_a_network_are_rejected() -> None:
    with pytest.raises(CorruptArtifact, match="OpenVINO cannot read"):
        OpenVinoEngine("float32", lambda _: b"nothing", threads=1)


@pytest.fixture
def counting_engine(tmp_path: Path) -> OpenVinoEngine:
    """Return an engine of two concurrent runs whose outputs are the number of rows that the network was run on."""
    pixels = ops.parameter([-1, SIDE, SIDE, 3], np.uint8, name="pixels")
    rows = ops.gather(ops.shape_of(pixels), ops.constant([0]), ops.constant(0))
    shape = ops.concat([rows, ops.constant([1], np.int64)], 0)
    counts = ops.broadcast(ops.convert(rows, "f32"), shape)
    counts.output(0).set_names({"rows"})
    network, _ = engine_files("openvino:float32")
    ov.save_model(ov.Model([counts], [pixels]), tmp_path / network, compress_to_fp16=False)
    return OpenVinoEngine("float32", lambda file: (tmp_path / file).read_bytes(), threads=2)


def test_batch_is_padded_to_the_next_size_that_is_warm(counting_engine: OpenVinoEngine) -> None:
    def sizes(run: Callable[[Pixels], Outputs]) -> list[int]:
        return [int(run(batch(count))["rows"][0, 0]) for count in (1, 3, 4, 5, 9, 16, 17)]

    assert counting_engine.max_concurrent_runs == 2
    assert sizes(counting_engine.run) == [1, 3, 4, 5, 9, 16, 17]
    counting_engine.warmup(16)
    assert sizes(counting_engine.run) == [1, 4, 4, 8, 12, 16, 17]
    assert sizes(counting_engine.concurrent.run) == [4, 4, 4, 8, 12, 16, 17], "the smallest is a quarter of the largest"
