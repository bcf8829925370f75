"""Folding of batch normalization."""

from __future__ import annotations

import numpy as np

from models import networks
from models.engines.batch_norm_folding import fold_batch_normalization

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 150, 150, 3), dtype=np.uint8)


def test_folded_model_equals_the_original() -> None:
    model = networks.build("small_cnn", 150, {"pets": 2}, dropout=0.3)
    folded = fold_batch_normalization(model)
    expected, outputs = (network(networks.scale(PIXELS), training=False) for network in (model, folded))
    np.testing.assert_allclose(outputs["pets"], expected["pets"], atol=1e-6)
