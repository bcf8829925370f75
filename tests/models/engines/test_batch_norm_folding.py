"""Folding of batch normalization."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from models import networks
from models.engines.batch_norm_folding import fold_batch_normalization

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 150, 150, 3), dtype=np.uint8)


def test_folded_model_equals_the_original() -> None:
    model = networks.build("small_cnn", 150, {"pets": 2}, dropout=0.3)
    folded = fold_batch_normalization(model)
    expected, outputs = (network(networks.scale(PIXELS), training=False) for network in (model, folded))
    np.testing.assert_allclose(outputs["pets"], expected["pets"], atol=1e-6)


@pytest.mark.parametrize("multiplier", [1, 3])
def test_normalized_depthwise_convolution_is_folded(multiplier: int) -> None:
    """Each channel of a depthwise convolution has its own kernels, one for each output."""
    inputs = keras.Input((8, 8, 4))
    convolution = keras.layers.DepthwiseConv2D(3, depth_multiplier=multiplier, use_bias=False)
    model = keras.Model(inputs, keras.layers.BatchNormalization()(convolution(inputs)))
    random = np.random.default_rng(0)
    model.set_weights([random.uniform(0.5, 2, weight.shape) for weight in model.get_weights()])
    values = random.normal(size=(2, 8, 8, 4)).astype(np.float32)
    expected = model(values, training=False)
    np.testing.assert_allclose(fold_batch_normalization(model)(values), expected, atol=1e-5)
