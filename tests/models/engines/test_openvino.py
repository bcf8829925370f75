"""OpenVINO engine on a tiny network: the mean of each colour channel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from models.arrays import Pixels
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
