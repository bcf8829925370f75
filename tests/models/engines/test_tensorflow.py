from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest

from models import networks
from models.arrays import Pixels
from models.engines.base import Engine
from models.engines.selection import create
from models.engines.tensorflow import TensorFlowEngine
from models.errors import WeightsError
from models.manifests import WEIGHTS_FILE
from models.networks import Tensors
from tests.support.images import noise
from tests.support.manifests import extractor_manifest
from tests.support.random_weights import TOPS, randomized

CLASSES = {top: tuple(f"class {index}" for index in range(width)) for top, width in TOPS.items()}


def batch(count: int, side: int) -> Pixels:
    return np.stack([noise(side, side, seed=seed) for seed in range(count)])


def engine_of(network: str, side: int, tensors: Tensors) -> Engine:
    manifest = extractor_manifest({}, network=network, input_size=side, tops=CLASSES)
    files = {WEIGHTS_FILE: networks.to_bytes(tensors)}
    return create("tensorflow:float32", manifest, files.__getitem__, threads=2)


@pytest.fixture(scope="module")
def small() -> tuple[Any, Engine]:
    model = networks.build("small_cnn", 32, TOPS)
    tensors = randomized(networks.get_tensors(model))
    networks.set_tensors(model, tensors)
    return model, engine_of("small_cnn", 32, tensors)


def test_batches_need_no_padding(small: tuple[Any, Engine]) -> None:
    assert list(small[1].preferred_batch_sizes(5)) == [1, 2, 3, 4, 5]


def keras_outputs(model: Any, pixels: Pixels) -> dict[str, Any]:
    """Return the reference outputs of Keras's own layers, with batch normalization, on pixels scaled by hand."""
    outputs = model(pixels.astype(np.float32) / 127.5 - 1, training=False)
    return {name: value.numpy() for name, value in outputs.items()}


def assert_equal(actual: Any, expected: dict[str, Any]) -> None:
    assert set(actual) == set(expected)
    for name, value in expected.items():
        assert actual[name].dtype == np.float32
        worst = np.abs(actual[name] - value).max() / max(1.0, np.abs(value).max())
        assert worst < 1e-4, f"{name} differs from Keras by {worst:.2g}"


def test_folded_graph_equals_keras_for_inception_v3(inception: Any) -> None:
    tensors = networks.get_tensors(inception)
    random = np.random.default_rng(1)
    for name, value in tensors.items():  # initial batch normalization statistics have no effect
        if "batch_normalization" in name:
            low, high = (0.5, 1.5) if "variance" in name else (-0.1, 0.1)
            tensors[name] = random.uniform(low, high, value.shape).astype(np.float32)
    networks.set_tensors(inception, tensors)
    pixels = batch(3, 75)
    expected = keras_outputs(inception, pixels)
    assert expected["pooled"].std() > 1e-3, "constant features prove nothing"
    assert_equal(engine_of("inception_v3", 75, tensors).run(pixels), expected)


def test_graph_equals_keras_without_batch_normalization(small: tuple[Any, Engine]) -> None:
    model, engine = small
    assert_equal(engine.run(batch(5, 32)), keras_outputs(model, batch(5, 32)))


def test_graph_keeps_its_variables_alive(small: tuple[Any, Engine]) -> None:
    """TensorFlow's function refers to them weakly; garbage collection must not remove them before a conversion."""
    _, engine = small
    assert isinstance(engine, TensorFlowEngine)
    gc.collect()
    assert len(engine.graph.graph.variables) > 0


def test_features_do_not_depend_on_the_batch(small: tuple[Any, Engine]) -> None:
    _, engine = small
    pixels = batch(17, 32)
    together = engine.run(pixels)
    for size in (1, 2, 16):
        parts = [engine.run(pixels[start : start + size]) for start in range(0, 17, size)]
        for name, value in together.items():
            joined = np.concatenate([part[name] for part in parts])
            assert np.allclose(joined, value, atol=1e-5), f"{name} of batches of {size} differ from one batch of 17"


def test_engine_name_is_library_and_precision(small: tuple[Any, Engine]) -> None:
    library, _, precision = small[1].name.partition(":")
    assert library == "tensorflow"
    assert precision == "float32"


def test_weights_of_another_network_are_rejected(small: tuple[Any, Engine]) -> None:
    tensors = networks.get_tensors(small[0])
    del tensors["conv2d_1/kernel"]
    with pytest.raises(WeightsError, match="conv2d_1/kernel is missing"):
        engine_of("small_cnn", 32, tensors)
