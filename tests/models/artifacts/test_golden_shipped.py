"""Golden images on the shipped extractor: a damaged engine in 8 bits is told from rounding."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest

from models.arrays import Pixels
from models.artifacts import golden
from models.artifacts.store import DEFAULT_STORE, Store
from models.engines.base import Outputs, Runner
from models.engines.selection import create
from models.errors import GoldenMismatch
from models.manifests import OPENVINO_INT8
from training.extractor.validate_engines import REFERENCE, int8_tolerance

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

GRAPH, WEIGHTS = OPENVINO_INT8
ARTIFACT = Store(DEFAULT_STORE).extractor("inception_v3_96")
MIN_MEAN_COSINE = 0.997
MARGIN = 5
"""A damaged engine is at least this many times as far from the reference as the engine itself."""


@dataclass
class WithInput:
    """An engine that receives changed images."""

    engine: Runner
    change: Callable[[Pixels], Pixels]
    name: str = "openvino:int8"

    def run(self, batch: Pixels) -> Outputs:
        return self.engine.run(np.ascontiguousarray(self.change(batch)))


@cache
def int8() -> Runner:
    return create("openvino:int8", ARTIFACT.manifest, ARTIFACT.read)


def with_layer(number: int, change: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]) -> Runner:
    """Compile the network with the changed 8-bit weights [out, in, height, width] of one convolution."""
    weights = bytearray(ARTIFACT.read(WEIGHTS))
    graph = ET.fromstring(ARTIFACT.read(GRAPH))
    constants = [data for data in graph.iter("data") if data.get("element_type") == "i8"]
    data = [data for data in constants if data.get("shape", "").count(",") == 3][number]
    start, size = int(data.get("offset", "")), int(data.get("size", ""))
    kernel = np.frombuffer(weights[start : start + size], np.int8).reshape(_shape(data.get("shape", "")))
    changed = np.clip(np.round(change(kernel.astype(np.float32))), -127, 127)
    weights[start : start + size] = changed.astype(np.int8).tobytes()
    files = {GRAPH: ARTIFACT.read(GRAPH), WEIGHTS: bytes(weights)}
    return create("openvino:int8", ARTIFACT.manifest, files.__getitem__)


def _shape(text: str) -> tuple[int, ...]:
    return tuple(int(side) for side in text.split(","))


def other_order(kernel: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return kernel[np.random.default_rng(0).permutation(len(kernel))]


def noisy(kernel: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    noise = np.random.default_rng(0).normal(0, 0.3 * kernel.std(), kernel.shape)
    return (kernel + noise).astype(np.float32)


DAMAGED: dict[str, Callable[[], Runner]] = {
    "swapped channels": lambda: WithInput(int8(), lambda images: images[..., ::-1]),
    "scaled to 0..1": lambda: WithInput(int8(), lambda images: images // 2 + 128),
    "other gamma": lambda: WithInput(int8(), lambda images: (255 * (images / 255) ** 0.8).astype(np.uint8)),
    "grey": lambda: WithInput(int8(), lambda images: images.mean(-1, keepdims=True).repeat(3, -1).astype(np.uint8)),
    "mirrored": lambda: WithInput(int8(), lambda images: images[:, :, ::-1]),
    "noisy first layer": lambda: with_layer(0, noisy),
    "channels of a layer in another order": lambda: with_layer(23, other_order),
    "channels of the last layer in another order": lambda: with_layer(-1, other_order),
}


@cache
def recorded() -> bytes:
    """Golden outputs as for a new extractor: the shipped file has the images of an earlier version."""
    return golden.record_extractor(create(REFERENCE, ARTIFACT.manifest, ARTIFACT.read), ARTIFACT.manifest.input_size)


def test_8_bits_are_close_to_the_reference() -> None:
    measured = golden.measure_agreement(recorded(), int8())
    assert measured.mean_cosine > MIN_MEAN_COSINE
    assert measured.min_cosine > 0.98


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_engine_is_told_from_rounding(name: str) -> None:
    measured, damaged = golden.measure_agreement(recorded(), int8()), DAMAGED[name]()
    distance = 1 - golden.measure_agreement(recorded(), damaged).mean_cosine
    assert distance > MARGIN * (1 - measured.mean_cosine)
    with pytest.raises(GoldenMismatch):
        golden.replay_extractor(recorded(), damaged, int8_tolerance(measured))
