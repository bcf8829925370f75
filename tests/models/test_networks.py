from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from models import networks
from models.errors import WeightsError
from models.networks import NETWORKS, Tensors

TOPS = {"tiny": 5, "cifar": 3}


def randomised(tensors: Tensors, seed: int = 0) -> Tensors:
    """Other values of the same shapes, such as fitting could give."""
    random = np.random.default_rng(seed)
    return {
        name: (random.uniform(0.5, 1.5, value.shape) if "variance" in name else random.normal(0, 0.05, value.shape))
        .astype(value.dtype)
        for name, value in tensors.items()
    }  # fmt: skip


# --- InceptionV3, at the smallest size that it can be built for


def test_inception_v3_names_its_tensors_from_0(inception: Any) -> None:
    """By this test's turn the process has built other networks, and Keras counts on."""
    found = networks.tensors(inception)
    assert set(found) == {
        *(f"conv2d_{number}/kernel" for number in range(94)),
        *(
            f"batch_normalization_{number}/{part}"
            for number in range(94)
            for part in ("beta", "moving_mean", "moving_variance")
        ),
        "tiny/kernel", "tiny/bias", "cifar/kernel", "cifar/bias",
    }  # fmt: skip


def test_inception_v3_numbers_its_layers_in_the_order_of_their_creation(inception: Any) -> None:
    """Shapes from the paper: the stem, the first branches, the last one."""
    found = networks.tensors(inception)
    shapes = {number: found[f"conv2d_{number}/kernel"].shape for number in (0, 1, 2, 3, 4, 5, 6, 7, 10, 93)}
    assert shapes == {
        0: (3, 3, 3, 32), 1: (3, 3, 32, 32), 2: (3, 3, 32, 64), 3: (1, 1, 64, 80), 4: (3, 3, 80, 192),
        5: (1, 1, 192, 64), 6: (1, 1, 192, 48), 7: (5, 5, 48, 64), 10: (3, 3, 96, 96), 93: (1, 1, 2048, 192),
    }  # fmt: skip


def test_kernels_are_float16_and_statistics_float32(inception: Any) -> None:
    for name, value in networks.tensors(inception).items():
        assert value.dtype == (np.float16 if name.endswith("/kernel") else np.float32), name


def test_inception_v3_takes_back_what_it_gave(inception: Any) -> None:
    tensors = randomised(networks.tensors(inception))
    networks.assign(inception, networks.from_bytes(networks.to_bytes(tensors)))
    found = networks.tensors(inception)
    assert all(np.array_equal(found[name], tensors[name]) for name in tensors)


def test_inception_v3_has_the_outputs_it_was_asked_for(inception: Any) -> None:
    shapes = {name: value.shape for name, value in inception.output.items()}
    assert shapes == {"pooled": (None, 2048), "tiny": (None, 5), "cifar": (None, 3)}


# --- any network


def small(tops: dict[str, int] = TOPS, **options: Any) -> Any:
    return networks.build("small_cnn", 32, tops, **options)


def test_names_are_the_same_after_other_networks_were_built() -> None:
    first = networks.tensors(small())
    for _ in range(2):
        again = networks.tensors(small())
        assert {name: value.shape for name, value in first.items()} == {
            name: value.shape for name, value in again.items()
        }
    assert {"conv2d_0/kernel", "conv2d_0/bias", "conv2d_2/kernel", "dense_0/kernel", "tiny/kernel"} <= set(first)


def test_tensors_survive_a_file() -> None:
    tensors = randomised(networks.tensors(small()))
    tensors["strided"] = np.arange(12, dtype=np.float32).reshape(3, 4).T  # safetensors keeps contiguous arrays only
    found = networks.from_bytes(networks.to_bytes(tensors))
    assert set(found) == set(tensors)
    assert all(np.array_equal(found[name], tensors[name]) for name in tensors)


def test_more_tensors_than_needed_do_no_harm() -> None:
    model = small()
    networks.assign(model, {**networks.tensors(model), "another/kernel": np.zeros(3)})


@pytest.mark.parametrize("name", ["conv2d_1/kernel", "dense_0/bias", "tiny/kernel"])
def test_a_missing_tensor_is_refused_by_name(name: str) -> None:
    model = small()
    tensors = networks.tensors(model)
    del tensors[name]
    with pytest.raises(WeightsError, match=f"These weights are not of small_cnn: {name} is missing, expected"):
        networks.assign(model, tensors)


def test_a_tensor_of_another_shape_is_refused_by_name() -> None:
    model = small()
    tensors = {**networks.tensors(model), "conv2d_0/kernel": np.zeros((3, 3, 1, 32), np.float16)}
    with pytest.raises(WeightsError, match=r"conv2d_0/kernel is of shape \(3, 3, 1, 32\), expected \(3, 3, 3, 32\)"):
        networks.assign(model, tensors)


def test_new_tops_may_start_as_they_are_but_no_other_layer() -> None:
    model, other = small({"tiny": 5, "new": 7}), networks.tensors(small())
    before = networks.tensors(model)["new/kernel"]
    networks.assign(model, other, skip_dense=True)
    assert np.array_equal(networks.tensors(model)["new/kernel"], before)
    assert np.array_equal(networks.tensors(model)["tiny/kernel"], other["tiny/kernel"])
    with pytest.raises(WeightsError, match="new/kernel is missing"):
        networks.assign(model, other)
    del other["conv2d_0/kernel"]
    with pytest.raises(WeightsError, match="conv2d_0/kernel is missing"):
        networks.assign(model, other, skip_dense=True)


def test_dropout_adds_no_weights() -> None:
    assert set(networks.tensors(small(dropout=0.5))) == set(networks.tensors(small()))


def test_an_unknown_network_is_answered_with_those_there_are() -> None:
    with pytest.raises(WeightsError, match=r"There is no network 'vgg99'. There is: .*inception_v3"):
        networks.build("vgg99", 96, {})


def test_a_size_that_is_too_small_is_refused_by_name() -> None:
    with pytest.raises(WeightsError, match="inception_v3 cannot be built for 32 px"):
        networks.build("inception_v3", 32, {})
    assert "inception_v3" in NETWORKS


def test_scaling_spans_minus_one_to_one() -> None:
    assert np.allclose(networks.scale(np.array([0, 127.5, 255])), [-1, 0, 1])


def test_vgg19_takes_pixels_as_keras_gives_them_to_it() -> None:
    from keras.applications import vgg19

    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), dtype=np.uint8)
    expected = vgg19.preprocess_input(pixels.astype(np.float32))
    assert np.allclose(networks.scale(pixels, networks.scaling("vgg19")), expected, atol=1e-4)
    assert networks.scaling("small_cnn") == "-1..1"


# --- files of weights


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
def test_a_file_of_something_else_is_refused(data: bytes) -> None:
    with pytest.raises(WeightsError, match="The weights are no safetensors file that can be read") as caught:
        networks.from_bytes(data)
    assert "\n" not in str(caught.value), "an error is one line"


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(WeightsError):
        networks.from_bytes(data)


def test_a_cut_file_is_refused() -> None:
    data = save({"a": np.arange(5, dtype=np.float32)})
    for length in range(len(data)):
        with pytest.raises(WeightsError):
            networks.from_bytes(data[:length])
