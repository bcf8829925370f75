"""Loading of the models of a store: directly at startup, after a proof in another process while others are served."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from app.inference.model_loading import load_catalog
from app.settings import Settings
from models.artifacts import proof
from models.artifacts.store import Store
from models.errors import ArtifactsRejected
from models.manifests import HEAD_FILE
from tests.support.manifests import copy_classifier


def test_models_are_proved_only_while_others_are_served(
    network_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "store")
    shutil.copytree(network_store.root, store.root)
    settings = Settings(store=store.root, threads=1)
    command, starts = proof.WORKER_COMMAND, ("/does/not/exist",)
    monkeypatch.setattr(proof, "WORKER_COMMAND", starts)
    loaded = load_catalog(settings)
    folder = copy_classifier(store, "more", of="trees")
    with pytest.raises(FileNotFoundError):
        load_catalog(settings, loaded)
    monkeypatch.setattr(proof, "WORKER_COMMAND", command)
    assert load_catalog(settings, loaded).find("more").version == 1
    (folder / HEAD_FILE).write_bytes(b"x")
    with pytest.raises(ArtifactsRejected, match=r"Cannot load more@1 in .*head\.pkl was changed"):
        load_catalog(settings, loaded)
