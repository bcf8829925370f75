"""ImageNet's InceptionV3 from Keras's files to a server of its 1,000 classes, with random weights of that form."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from models import networks
from models.artifacts import catalog, golden
from models.artifacts.store import ClassifierArtifact, Store
from models.classifier import BatchItem, classify
from models.console.progress import silent
from tests.support import keras_weights
from tests.support.keras_weights import Distributed
from tests.support.processes import server
from training.extractor import initial_weights
from training.recipes.load import load_recipe
from training.runtime.context import RunContext
from training.train import run

#: What probabilities may differ by.
CLOSE = 1e-3

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@dataclass
class Imagenet:
    """The results of the recipe, run twice with downloads from a local server."""

    store: Store
    cache: Path
    first: ClassifierArtifact
    again: ClassifierArtifact
    requested: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def distributed(tmp_path_factory: pytest.TempPathFactory) -> Distributed:
    return keras_weights.distribute(tmp_path_factory.mktemp("distributed"), keras_weights.network())


@pytest.fixture(scope="module")
def imagenet(distributed: Distributed, tmp_path_factory: pytest.TempPathFactory) -> Imagenet:
    root = tmp_path_factory.mktemp("imagenet")
    store, cache, lines = Store(root / "store"), root / "cache", list[str]()
    cache.mkdir()
    with keras_weights.serving(distributed.folder) as (url, requested), pytest.MonkeyPatch.context() as patch:
        patch.setitem(initial_weights.IMAGENET, "inception_v3", keras_weights.remote(url, distributed.weights))
        patch.setattr(initial_weights, "CLASS_INDEX", keras_weights.remote(url, distributed.index))
        ctx = RunContext(store, silent, lines.append, cache=cache)
        first, again = (run(load_recipe("imagenet_inception_v3"), ctx) for _ in range(2))
    assert isinstance(first, type(again))
    assert first.manifest.kind == "classifier"
    return Imagenet(store, cache, first, again, requested, lines)  # type: ignore[arg-type]


def test_extractor_and_classifier_have_the_1000_classes(imagenet: Imagenet) -> None:
    (extractor,) = imagenet.store.extractors()
    assert extractor.label == "inception_v3_imagenet@1"
    assert extractor.manifest.outputs == {"pooled": 2048, "probabilities": 1000}
    assert extractor.manifest.fitted_on["start"].startswith("imagenet md5:")
    manifest = imagenet.first.manifest
    assert (imagenet.first.label, len(manifest.classes), manifest.metrics) == ("imagenet_inception_v3@1", 1000, {})
    assert {"crane (n02012849)", "crane (n03126707)", "great thing 3"} <= set(manifest.classes)


def test_second_run_downloads_nothing_and_saves_no_extractor(imagenet: Imagenet) -> None:
    assert imagenet.requested == [keras_weights.WEIGHTS_FILE, keras_weights.INDEX_FILE]
    assert imagenet.again.label == "imagenet_inception_v3@2"
    assert len(imagenet.store.extractors()) == 1


def test_store_verifies(imagenet: Imagenet) -> None:
    assert [problem for _, problem in catalog.verify(imagenet.store)] == [None] * 3


def test_classifier_predicts_the_same_as_the_keras_network(imagenet: Imagenet, distributed: Distributed) -> None:
    images = golden.synthetic_images(299, 32, seed=5)
    expected = np.asarray(distributed.network(networks.scale(images), training=False))
    (classifier,) = catalog.load(imagenet.store, ["imagenet_inception_v3@1"]).classifiers
    answers = classify(classifier.extractor.engine, [BatchItem(pixels, (classifier,)) for pixels in images])
    probabilities = np.stack([row[0] for row in answers])
    assert np.abs(probabilities - expected).max() < CLOSE
    two_likeliest = np.sort(expected, axis=1)[:, -2:]
    clear = two_likeliest[:, 1] - two_likeliest[:, 0] > CLOSE
    assert clear.mean() > 0.5
    assert len(set(expected.argmax(axis=1))) > 3, "the network distinguishes the images"
    assert np.array_equal(probabilities.argmax(axis=1)[clear], expected.argmax(axis=1)[clear])


def test_file_with_its_class_index_needs_no_download(distributed: Distributed, imagenet: Imagenet) -> None:
    recipe = load_recipe("imagenet_inception_v3").with_overrides(weights=str(distributed.weights))
    before = len(imagenet.requested)
    artifact = run(recipe, RunContext(imagenet.store, silent, print, cache=imagenet.cache))
    assert isinstance(artifact.manifest.data, dict)  # type: ignore[union-attr]
    assert len(imagenet.store.extractors()) == 1, "equal weights are one extractor"
    assert len(imagenet.requested) == before


def test_server_serves_the_1000_classes(imagenet: Imagenet, distributed: Distributed, tmp_path: Path) -> None:
    (pixels,) = golden.synthetic_images(299, 1, seed=9)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    expected = np.asarray(distributed.network(networks.scale(pixels[None]), training=False))[0]
    with server("app", APP_STORE=str(imagenet.store.root), APP_DEFAULT_MODEL="imagenet_inception_v3@1") as started:
        address = started.address(240)
        with (tmp_path / "image.png").open("rb") as image:
            reply = httpx.post(f"{address}/v1/classify", files={"file": image}, timeout=60)
        models = httpx.get(f"{address}/v1/models", timeout=20).json()["models"]
    assert reply.status_code == 200, reply.text
    answer = reply.json()
    assert (answer["model"], len(answer["predictions"])) == ("imagenet_inception_v3", 5)
    for prediction in answer["predictions"]:
        assert prediction["label"] == imagenet.first.manifest.classes[prediction["index"]]
        assert prediction["score"] == pytest.approx(expected[prediction["index"]], abs=CLOSE)
    assert {model["name"] for model in models} == {"imagenet_inception_v3"}
