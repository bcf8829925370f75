"""Model cards are made from the manifest alone, also those of the shipped artifacts."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.artifacts.store import DEFAULT_STORE, ClassifierArtifact, ExtractorArtifact, Store
from models.manifests import CARD_FILE, HEAD_FILE, SEEN_FILE, ClassifierManifest, SetRecord
from tests.support.manifests import classifier_manifest
from training.model_card import render_again, render_model_card

CARD = {"title": "Colours", "about": "Colours.", "limits": [], "notices": ""}
SHIPPED = [*Store(DEFAULT_STORE).extractors(), *Store(DEFAULT_STORE).classifiers()]


@pytest.mark.parametrize("artifact", SHIPPED, ids=lambda artifact: artifact.label)
def test_shipped_card_says_what_its_manifest_records(artifact: ExtractorArtifact | ClassifierArtifact) -> None:
    assert artifact.read(CARD_FILE).decode() == render_model_card(artifact.manifest)


def test_shipped_extractor_keeps_what_its_first_version_was_fitted_on() -> None:
    manifest = Store(DEFAULT_STORE).extractor("inception_v3_96").manifest
    first, _ = manifest.fitted_on["earlier"]
    assert first["version"] == 1
    assert all("the held-out ones included" in fit["images"] for fit in first["fits"])
    holdout = Store(DEFAULT_STORE).classifier("cifar10").manifest.sets["holdout"]
    assert holdout.fitted_by_network == holdout.images


def test_card_is_rendered_again_with_more_records_and_the_same_files(tmp_path: Path) -> None:
    contents = {HEAD_FILE: b"a head", CARD_FILE: b"# Old"}
    manifest = classifier_manifest(contents, recipe={"card": CARD})
    artifact = Store(tmp_path).add(ClassifierManifest, "colours", lambda version: (manifest, contents))
    sets = {"test": SetRecord(digest="d", images=32, fitted_by_network=5)}
    changed = render_again(artifact, manifest.model_copy(update={"sets": sets}), {SEEN_FILE: b"seen"})
    (only,) = Store(tmp_path).classifiers()
    only.verify()
    assert only.label == "colours@1"
    assert (only.manifest, only.folder) == (changed.manifest, artifact.folder)
    assert (only.read(HEAD_FILE), only.read(SEEN_FILE)) == (b"a head", b"seen")
    assert "had been fitted on 5 of its 32 images" in only.read(CARD_FILE).decode()
    assert [path.name for path in artifact.folder.parent.iterdir()] == ["1"]
