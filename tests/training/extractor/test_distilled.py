"""An extractor that is made by a fit with a teacher: its tops, where it comes from, and which images it has seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.artifacts.catalog import load_extractor
from models.artifacts.store import ExtractorArtifact, Store
from models.console.progress import silent
from models.manifests import CARD_FILE, WEIGHTS_FILE
from models.networks import from_bytes
from tests.support import taught_fit
from training.evaluation.seen import UNRECORDED, seen_by_artifact, to_keys
from training.partition.partition import FIT, HOLDOUT
from training.recipes.network import Network
from training.recipes.schema import Card, ExtractorRef, Recipe
from training.runtime.context import RunContext
from training.train import run

pytestmark = pytest.mark.timeout(300)


def _make(folder: Path, network: Network) -> ExtractorArtifact:
    recipe = Recipe(
        name="distilled",
        extractor=ExtractorRef(name="student"),
        network=network,
        card=Card(title="Taught", about="It."),
    )
    ctx = RunContext(Store(folder / "store"), silent, print, folder, folder / "cache")
    artifact = run(recipe, ctx)
    assert artifact.manifest.kind == "extractor"
    return ctx.store.extractor("student", artifact.manifest.version)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("distilled")
    taught_fit.write(folder)
    taught_fit.save_teacher(Store(folder / "store"), taught_fit.fit_teacher(folder))
    return folder


@pytest.fixture(scope="module")
def student(folder: Path) -> ExtractorArtifact:
    return _make(folder, taught_fit.network(passes=2))


def test_top_of_the_teacher_is_saved_with_its_class_names(student: ExtractorArtifact) -> None:
    assert student.manifest.tops == {"taught": taught_fit.CLASSES}
    extractor = load_extractor(student)
    outputs = extractor.engine.run(np.zeros((2, taught_fit.SIZE, taught_fit.SIZE, 3), np.uint8))
    assert outputs["taught"].shape == (2, 3)
    np.testing.assert_allclose(outputs["taught"].sum(axis=1), 1, rtol=1e-3)


def test_top_of_the_teacher_can_be_left_out(folder: Path, student: ExtractorArtifact) -> None:
    without = _make(folder, taught_fit.network(passes=2, keep_top=False))
    assert without.manifest.tops == {}
    assert not any(name.startswith("taught/") for name in from_bytes(without.read(WEIGHTS_FILE)))
    assert set(without.manifest.outputs) == {"pooled"}
    kept, all_tensors = from_bytes(without.read(WEIGHTS_FILE)), from_bytes(student.read(WEIGHTS_FILE))
    for name, value in kept.items():
        np.testing.assert_array_equal(value, all_tensors[name])


def test_manifest_and_card_name_the_teacher(folder: Path, student: ExtractorArtifact) -> None:
    teacher = Store(folder / "store").extractor(taught_fit.TEACHER)
    fitted_on = student.manifest.fitted_on
    assert fitted_on["teacher"] == f"{taught_fit.TEACHER}@1 sha256:{teacher.manifest.weights_sha256}"
    assert fitted_on["start"] == "random"
    assert fitted_on["noise"]["fitted_on_images"] == 114
    assert [record["teacher"]["noise"]["images"] for record in fitted_on["history"]] == [6, 6, 6]
    card = student.read(CARD_FILE).decode()
    assert f"- Teacher: {fitted_on['teacher']}" in card
    assert "- By the teacher alone, without labels: fitted on 114 images of noise; 6 held out" in card
    assert fitted_on["notice"] == taught_fit.NOTICE
    assert taught_fit.NOTICE in card, "the notice of the teacher's weights is passed on"


def test_8_bits_are_left_out_where_no_label_can_tell_that_they_are_harmless(
    folder: Path, student: ExtractorArtifact
) -> None:
    assert "openvino:int8" not in student.manifest.engines
    assert "openvino:float32" in student.manifest.engines
    forced = _make(folder, taught_fit.network(passes=2).model_copy(update={"int8": "always"}))
    assert "openvino:int8" in forced.manifest.engines


def test_images_of_the_teacher_count_as_seen(folder: Path, student: ExtractorArtifact) -> None:
    seen = seen_by_artifact(student)
    partition = taught_fit.load(folder)
    own = {name: to_keys(partition._sets[name].digests) for name in (FIT, HOLDOUT)}
    fitted = seen.keys["fit.network"]
    assert np.isin(own[FIT], fitted).all()
    assert not np.isin(own[HOLDOUT], fitted).any()
    assert 7 in fitted, "an image that the teacher was fitted on"
    assert seen.unrecorded == (taught_fit.FITTED,)
    assert student.manifest.fitted_on[UNRECORDED] == [taught_fit.FITTED]
