from __future__ import annotations

import pytest

from benchmarks.harness.images import generate_jpegs
from benchmarks.peers import model
from benchmarks.peers.model import Setup
from models.artifacts.store import Store


@pytest.mark.parametrize("setup", Setup)
def test_both_setups_predict_the_same_labels(
    setup: Setup, network_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in model.setup_variables(network_store.root, "colours", setup).items():
        monkeypatch.setenv(name, value)
    pixels = model.decoder()(generate_jpegs(6, 48))
    predictions = model.predictor()(pixels)
    monkeypatch.setenv(model.SETUP_VARIABLE, Setup.OUR_ENGINE)
    assert [row["label"] for row in predictions] == [row["label"] for row in model.predictor()(pixels)]
    assert {row["engine"] for row in predictions} != {""}
