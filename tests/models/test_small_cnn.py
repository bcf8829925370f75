from __future__ import annotations

import numpy as np
import pytest

from models import networks
from models.engines.batch_norm_folding import fold_batch_normalization
from models.errors import WeightsError

_PIXELS = np.random.default_rng(0).integers(0, 256, (3, 150, 150, 3), dtype=np.uint8)


def test_it_is_the_network_of_the_post() -> None:
    model = networks.build("small_cnn", 150, {"pets": 2}, dropout=0.3)
    kernels = {name: tensor.shape for name, tensor in networks.tensors(model).items() if name.endswith("kernel")}
    assert kernels == {
        "conv2d_0/kernel": (3, 3, 3, 32),
        "conv2d_1/kernel": (3, 3, 32, 32),
        "conv2d_2/kernel": (3, 3, 32, 64),
        "dense_0/kernel": (17 * 17 * 64, 64),
        "pets/kernel": (64, 2),
    }


def test_weights_survive_saving_and_loading() -> None:
    first, second = (networks.build("small_cnn", 150, {"pets": 2}) for _ in range(2))
    networks.assign(second, networks.from_bytes(networks.to_bytes(networks.tensors(first))))
    expected, outputs = (model(networks.scale(_PIXELS), training=False) for model in (first, second))
    assert outputs[networks.POOLED].shape == (3, 64)
    np.testing.assert_allclose(outputs["pets"], expected["pets"], atol=1e-3)


def test_the_graph_that_serves_gives_what_the_model_gives() -> None:
    model = networks.build("small_cnn", 150, {"pets": 2}, dropout=0.3)
    folded = fold_batch_normalization(model)
    expected, outputs = (network(networks.scale(_PIXELS), training=False) for network in (model, folded))
    np.testing.assert_allclose(outputs["pets"], expected["pets"], atol=1e-6)


def test_a_network_cannot_be_smaller_than_its_layers_need() -> None:
    with pytest.raises(WeightsError, match="64 px"):
        networks.build("inception_v3", 64, {})
