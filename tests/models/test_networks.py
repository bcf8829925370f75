from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from models import networks
from models.errors import WeightsError
from models.networks import NETWORKS
from tests.support.random_weights import TOPS, randomized

# --- InceptionV3 at its smallest size


def test_inception_v3_tensor_names_start_at_0(inception: Any) -> None:
    """The process has already built other networks, so Keras's own numbers are higher."""
    actual = networks.get_tensors(inception)
    assert set(actual) == {
        *(f"conv2d_{number}/kernel" for number in range(94)),
        *(
            f"batch_normalization_{number}/{part}"
            for number in range(94)
            for part in ("beta", "moving_mean", "moving_variance")
        ),
        "tiny/kernel", "tiny/bias", "cifar/kernel", "cifar/bias",
    }  # fmt: skip


def test_inception_v3_layers_are_numbered_in_creation_order(inception: Any) -> None:
    """Shapes from the paper: the stem, the first branches and the last convolution."""
    actual = networks.get_tensors(inception)
    shapes = {number: actual[f"conv2d_{number}/kernel"].shape for number in (0, 1, 2, 3, 4, 5, 6, 7, 10, 93)}
    assert shapes == {
        0: (3, 3, 3, 32), 1: (3, 3, 32, 32), 2: (3, 3, 32, 64), 3: (1, 1, 64, 80), 4: (3, 3, 80, 192),
        5: (1, 1, 192, 64), 6: (1, 1, 192, 48), 7: (5, 5, 48, 64), 10: (3, 3, 96, 96), 93: (1, 1, 2048, 192),
    }  # fmt: skip


def test_kernels_are_float16_and_other_tensors_float32(inception: Any) -> None:
    for name, value in networks.get_tensors(inception).items():
        assert value.dtype == (np.float16 if name.endswith("/kernel") else np.float32), name


def test_inception_v3_tensors_round_trip(inception: Any) -> None:
    tensors = randomized(networks.get_tensors(inception))
    networks.set_tensors(inception, networks.from_bytes(networks.to_bytes(tensors)))
    actual = networks.get_tensors(inception)
    assert all(np.array_equal(actual[name], tensors[name]) for name in tensors)


def test_inception_v3_has_the_requested_outputs(inception: Any) -> None:
    shapes = {name: value.shape for name, value in inception.output.items()}
    assert shapes == {"pooled": (None, 2048), "tiny": (None, 5), "cifar": (None, 3)}


# --- any network


def small(tops: dict[str, int] = TOPS, **options: Any) -> Any:
    return networks.build("small_cnn", 32, tops, **options)


def test_tensor_names_do_not_depend_on_other_networks() -> None:
    first = networks.get_tensors(small())
    for _ in range(2):
        other = networks.get_tensors(small())
        assert {name: value.shape for name, value in first.items()} == {
            name: value.shape for name, value in other.items()
        }
    assert {"conv2d_0/kernel", "conv2d_0/bias", "conv2d_2/kernel", "dense_0/kernel", "tiny/kernel"} <= set(first)


def test_tensors_round_trip_through_a_file() -> None:
    tensors = randomized(networks.get_tensors(small()))
    tensors["strided"] = np.arange(12, dtype=np.float32).reshape(3, 4).T  # safetensors keeps contiguous arrays only
    actual = networks.from_bytes(networks.to_bytes(tensors))
    assert set(actual) == set(tensors)
    assert all(np.array_equal(actual[name], tensors[name]) for name in tensors)


def test_additional_tensors_are_ignored() -> None:
    model = small()
    networks.set_tensors(model, {**networks.get_tensors(model), "another/kernel": np.zeros(3)})


@pytest.mark.parametrize("name", ["conv2d_1/kernel", "dense_0/bias", "tiny/kernel"])
def test_missing_tensor_is_named(name: str) -> None:
    model = small()
    tensors = networks.get_tensors(model)
    del tensors[name]
    with pytest.raises(WeightsError, match=f"These weights do not match small_cnn: {name} is missing, expected shape"):
        networks.set_tensors(model, tensors)


def test_tensor_of_another_shape_is_named() -> None:
    model = small()
    tensors = {**networks.get_tensors(model), "conv2d_0/kernel": np.zeros((3, 3, 1, 32), np.float16)}
    with pytest.raises(
        WeightsError, match=r"conv2d_0/kernel has shape \(3, 3, 1, 32\), expected shape \(3, 3, 3, 32\)"
    ):
        networks.set_tensors(model, tensors)


def test_only_mismatched_dense_layers_can_be_skipped() -> None:
    model, other = small({"tiny": 5, "new": 7}), networks.get_tensors(small())
    before = networks.get_tensors(model)["new/kernel"]
    networks.set_tensors(model, other, skip_mismatched_dense=True)
    assert np.array_equal(networks.get_tensors(model)["new/kernel"], before)
    assert np.array_equal(networks.get_tensors(model)["tiny/kernel"], other["tiny/kernel"])
    with pytest.raises(WeightsError, match="new/kernel is missing"):
        networks.set_tensors(model, other)
    del other["conv2d_0/kernel"]
    with pytest.raises(WeightsError, match="conv2d_0/kernel is missing"):
        networks.set_tensors(model, other, skip_mismatched_dense=True)


def test_dropout_adds_no_weights() -> None:
    assert set(networks.get_tensors(small(dropout=0.5))) == set(networks.get_tensors(small()))


def test_unknown_network_lists_the_known_ones() -> None:
    with pytest.raises(WeightsError, match=r"Unknown network 'vgg99'. Use one of: .*inception_v3"):
        networks.build("vgg99", 96, {})


@pytest.mark.parametrize("size", [32, 64])
def test_too_small_size_is_rejected(size: int) -> None:
    with pytest.raises(WeightsError, match=f"inception_v3 cannot be built for {size} px"):
        networks.build("inception_v3", size, {})
    assert "inception_v3" in NETWORKS


def test_scaling_spans_minus_one_to_one() -> None:
    assert np.allclose(networks.scale(np.array([0, 127.5, 255])), [-1, 0, 1])


def test_vgg19_scaling_equals_keras() -> None:
    from keras.applications import vgg19

    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), dtype=np.uint8)
    expected = vgg19.preprocess_input(pixels.astype(np.float32))
    assert np.allclose(networks.scale(pixels, networks.scaling_of("vgg19")), expected, atol=1e-4)
    assert networks.scaling_of("small_cnn") == "-1..1"


# --- the small CNN


def test_small_cnn_has_the_published_layers() -> None:
    model = networks.build("small_cnn", 150, {"pets": 2}, dropout=0.3)
    kernels = {name: tensor.shape for name, tensor in networks.get_tensors(model).items() if name.endswith("kernel")}
    assert kernels == {
        "conv2d_0/kernel": (3, 3, 3, 32),
        "conv2d_1/kernel": (3, 3, 32, 32),
        "conv2d_2/kernel": (3, 3, 32, 64),
        "dense_0/kernel": (17 * 17 * 64, 64),
        "pets/kernel": (64, 2),
    }


def test_small_cnn_outputs_round_trip() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 150, 150, 3), dtype=np.uint8)
    first, second = (networks.build("small_cnn", 150, {"pets": 2}) for _ in range(2))
    networks.set_tensors(second, networks.from_bytes(networks.to_bytes(networks.get_tensors(first))))
    expected, outputs = (model(networks.scale(pixels), training=False) for model in (first, second))
    assert outputs[networks.POOLED].shape == (3, 64)
    np.testing.assert_allclose(outputs["pets"], expected["pets"], atol=1e-3)


# --- weights files


def with_header(header: bytes) -> bytes:
    return len(header).to_bytes(8, "little") + header


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x04.",
        b"\x89HDF\r\n\x1a\n" + bytes(100),
        with_header(b"{"),
        with_header(b"[]"),
        with_header(b'{"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}'),
        with_header(b'{"a": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}') + bytes(2),
        with_header(b'{"a": {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [0, 1]}}') + bytes(1),
        with_header(b'{"a": {"dtype": "F99", "shape": [1], "data_offsets": [0, 1]}}') + bytes(1),
        b"\xff" * 8,
    ],
    ids=lambda data: repr(data[8:40]),
)
def test_other_files_are_rejected(data: bytes) -> None:
    with pytest.raises(WeightsError, match="The weights are not a readable safetensors file") as caught:
        networks.from_bytes(data)
    assert "\n" not in str(caught.value), "an error is one line"


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_arbitrary_bytes_are_rejected(data: bytes) -> None:
    with pytest.raises(WeightsError):
        networks.from_bytes(data)


def test_truncated_file_is_rejected() -> None:
    data = save({"a": np.arange(5, dtype=np.float32)})
    for length in range(len(data)):
        with pytest.raises(WeightsError):
            networks.from_bytes(data[:length])
