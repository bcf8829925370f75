"""EfficientNet-Lite: its published shapes, and its arithmetic against an implementation in NumPy."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from models import networks
from models.efficientnet_lite import EFFICIENTNET_LITES, blocks
from models.engines.batch_norm_folding import fold_batch_normalization
from models.networks import Tensors
from tests.support.random_weights import randomized

TOPS = {"probabilities": 7}

#: What rounding may change in features of 0 to 6.
CLOSE = 0.01


@pytest.fixture(scope="module", params=[32, 45])
def lite(request: pytest.FixtureRequest) -> Any:
    """Return Lite0 with random weights, at an even and at an odd size, where padding differs.

    The statistics of its batch normalization are those of a batch, so that its features differ between images.
    """
    model = networks.build("efficientnet_lite0", request.param, TOPS)
    networks.set_tensors(model, random_weights(networks.get_tensors(model)))
    normalizations = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in normalizations:
        layer.momentum = 0.0
    model(images(request.param, 16), training=True)
    return model


def random_weights(tensors: Tensors) -> Tensors:
    """Return random weights with gamma about 1, so that values are both below 0 and above 6."""
    return {
        name: value + 1 if name.endswith("/gamma") else (value * 20).astype(value.dtype)
        for name, value in randomized(tensors).items()
    }


# --- shapes


@pytest.mark.parametrize(
    ("network", "repeats", "filters", "millions"),
    [
        ("efficientnet_lite0", [1, 2, 2, 3, 3, 4, 1], [16, 24, 40, 80, 112, 192, 320], 4.65),
        ("efficientnet_lite1", [1, 3, 3, 4, 4, 5, 1], [16, 24, 40, 80, 112, 192, 320], 5.42),
        ("efficientnet_lite2", [1, 3, 3, 4, 4, 5, 1], [16, 24, 48, 88, 120, 208, 352], 6.09),
    ],
)
def test_network_has_the_published_blocks_and_number_of_weights(
    network: str, repeats: list[int], filters: list[int], millions: float
) -> None:
    assert [block.filters for block in blocks(network)] == [
        width for width, count in zip(filters, repeats, strict=True) for _ in range(count)
    ]
    model = networks.build(network, 32, {"probabilities": 1000})
    trainable = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
    assert round(trainable / 1e6, 2) == millions
    assert {name: value.shape for name, value in model.output.items()} == {
        "pooled": (None, 1280),
        "probabilities": (None, 1000),
    }


def test_strides_reduce_224_px_to_7() -> None:
    model = networks.build("efficientnet_lite0", 224, {})
    assert model.get_layer("head").output.shape == (None, 7, 7, 1280)
    assert [block.stride for block in blocks("efficientnet_lite0")].count(2) == 4


def test_only_blocks_of_equal_shapes_are_residual() -> None:
    for network in EFFICIENTNET_LITES:
        expected = [block.stride == 1 and block.inputs == block.filters for block in blocks(network)]
        assert [block.is_residual for block in blocks(network)] == expected
        assert not expected[0]
        assert any(expected)


def test_tensor_names_do_not_depend_on_other_networks(lite: Any) -> None:
    size = lite.input.shape[1]
    again = networks.get_tensors(networks.build("efficientnet_lite0", size, TOPS))
    assert {name: value.shape for name, value in networks.get_tensors(lite).items()} == {
        name: value.shape for name, value in again.items()
    }
    assert {
        "stem/kernel", "stem_norm/gamma", "block0_depthwise/kernel", "block1_expand/kernel", "block1_expand_norm/beta",
        "block15_project_norm/moving_variance", "head/kernel", "head_norm/moving_mean", "probabilities/kernel",
    } <= set(again)  # fmt: skip
    assert "block0_expand/kernel" not in again
    assert again["block1_depthwise/kernel"].shape == (3, 3, 96, 1)


def test_tensors_round_trip_through_a_file(lite: Any) -> None:
    tensors = networks.get_tensors(lite)
    copy = networks.build("efficientnet_lite0", lite.input.shape[1], TOPS)
    networks.set_tensors(copy, networks.from_bytes(networks.to_bytes(tensors)))
    pixels = images(lite.input.shape[1])
    expected, actual = (np.asarray(model(pixels, training=False)["probabilities"]) for model in (lite, copy))
    assert np.array_equal(actual, expected)


def test_network_accepts_other_sizes_if_built_for_any() -> None:
    model = networks.build("efficientnet_lite0", 64, TOPS, any_size=True, dropout=0.2)
    assert model(images(40), training=False)["pooled"].shape == (3, 1280)


def test_scaling_is_that_of_the_published_weights() -> None:
    for network in EFFICIENTNET_LITES:
        assert networks.scaling_of(network) == "(x-127)/128"
    assert np.allclose(networks.scale(np.array([0, 127, 255]), "(x-127)/128"), [-127 / 128, 0, 1])


# --- arithmetic


def images(size: int, count: int = 3) -> Any:
    pixels = np.random.default_rng(1).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    return networks.scale(pixels, "(x-127)/128")


def test_outputs_equal_those_of_an_implementation_in_numpy(lite: Any) -> None:
    pixels = images(lite.input.shape[1])
    actual = {name: np.asarray(value) for name, value in lite(pixels, training=False).items()}
    tensors = {name: value.astype(np.float64) for name, value in networks.get_tensors(lite).items()}
    pooled = reference(np.asarray(pixels, np.float64), tensors)
    assert pooled.std(axis=0).mean() > 0.01, "the images give different features"
    np.testing.assert_allclose(actual["pooled"], pooled, atol=CLOSE)
    scores = pooled @ tensors["probabilities/kernel"] + tensors["probabilities/bias"]
    exponentials = np.exp(scores)
    np.testing.assert_allclose(
        actual["probabilities"], exponentials / exponentials.sum(axis=1, keepdims=True), atol=CLOSE
    )


def test_folded_network_equals_the_original(lite: Any) -> None:
    pixels = images(lite.input.shape[1])
    expected, actual = (model(pixels, training=False) for model in (lite, fold_batch_normalization(lite)))
    for name in expected:
        np.testing.assert_allclose(actual[name], expected[name], atol=CLOSE)


#: The table of the paper: side of the kernel, stride, and whether the block expands and adds its input.
BLOCKS = [
    (3, 1, False, False), (3, 2, True, False), (3, 1, True, True), (5, 2, True, False), (5, 1, True, True),
    (3, 2, True, False), (3, 1, True, True), (3, 1, True, True), (5, 1, True, False), (5, 1, True, True),
    (5, 1, True, True), (5, 2, True, False), (5, 1, True, True), (5, 1, True, True), (5, 1, True, True),
    (3, 1, True, False),
]  # fmt: skip


def reference(values: Any, tensors: Tensors) -> Any:
    """Compute the pooled features of Lite0: [n, size, size, 3] -> [n, 1280]."""

    def layer(values: Any, name: str, stride: int = 1) -> Any:
        return normalize(convolve(values, tensors[f"{name}/kernel"], stride, "depthwise" in name), name, tensors)

    values = relu6(layer(values, "stem", 2))
    for number, (kernel, stride, expands, is_residual) in enumerate(BLOCKS):
        assert tensors[f"block{number}_depthwise/kernel"].shape[:2] == (kernel, kernel)
        inputs = values
        if expands:
            values = relu6(layer(values, f"block{number}_expand"))
        values = relu6(layer(values, f"block{number}_depthwise", stride))
        values = layer(values, f"block{number}_project")
        if is_residual:
            values = values + inputs
    return relu6(layer(values, "head")).mean(axis=(1, 2))


def convolve(values: Any, kernel: Any, stride: int, depthwise: bool) -> Any:
    """Convolve [n, side, side, inputs] with TensorFlow's padding "same": an odd pixel is added at the end."""
    side, height = values.shape[1], kernel.shape[0]
    total = max((-(-side // stride) - 1) * stride + height - side, 0)
    padding = (total // 2, total - total // 2)
    padded = np.pad(values, [(0, 0), padding, padding, (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, height), axis=(1, 2))
    windows = windows[:, ::stride, ::stride]  # [n, side, side, inputs, height, height]
    if depthwise:
        return np.einsum("nyxcij,ijco->nyxc", windows, kernel, optimize=True)
    return np.einsum("nyxcij,ijco->nyxo", windows, kernel, optimize=True)


def normalize(values: Any, name: str, tensors: Tensors) -> Any:
    gamma, beta, mean, variance = (
        tensors[f"{name}_norm/{part}"] for part in ("gamma", "beta", "moving_mean", "moving_variance")
    )
    return (values - mean) / np.sqrt(variance + 0.001) * gamma + beta


def relu6(values: Any) -> Any:
    return np.clip(values, 0, 6)
