"""A tiny store on a real network of 40,000 weights for TensorFlow and OpenVINO."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from models import networks
from models.artifacts import golden
from models.artifacts.store import ExtractorArtifact, Store
from models.classifier import Extractor
from models.engines.tensorflow import TensorFlowEngine
from models.heads import top_softmax
from models.manifests import CARD_FILE, GOLDEN_FILE, WEIGHTS_FILE, Agreement, ExtractorManifest
from models.networks import POOLED
from tests.support.colour_images import SIDE, colour_images
from tests.support.colour_store import save_classifier
from tests.support.manifests import CLASSES, extractor_manifest
from training.estimators.boosted_trees import XGBoost
from training.estimators.linear import Logistic
from training.extractor.openvino_export import convert_graph, export_float16

#: OpenVINO first: processes that load the store then need not import TensorFlow, which takes six seconds.
ENGINES = dict.fromkeys(("openvino:float32", "tensorflow:float32"), Agreement(min_cosine=0.9999, min_top1=0.98))


def build(root: Path) -> Store:
    """Save `tiny_net`; on it `colours` twice (logistic regression), `trees` (XGBoost), `own_top` (its softmax)."""
    store = Store(root)
    extractor = save_extractor(store)
    images, labels = colour_images()
    features = extractor.engine.run(images)[POOLED]
    for C in (1.0, 2.0):  # noqa: N806 - the name in scikit-learn
        estimator = Logistic(kind="logistic", C=C).fit(features, labels, seed=0)
        save_classifier(store, "colours", estimator, extractor, temperature=1.5)
    save_classifier(store, "trees", XGBoost(kind="xgboost", n_estimators=5).fit(features, labels, seed=0), extractor)
    save_classifier(store, "own_top", top_softmax(CLASSES, sorted(CLASSES)), extractor, output="colour")
    return store


def save_extractor(
    store: Store, name: str = "tiny_net", seed: int = 0, more_files: Mapping[str, bytes] = MappingProxyType({})
) -> Extractor:
    """Save a network with random weights and its golden outputs."""
    import keras

    keras.utils.set_random_seed(seed)
    tensors = networks.get_tensors(networks.build("small_cnn", SIDE, {"colour": len(CLASSES)}))
    contents = {WEIGHTS_FILE: networks.to_bytes(tensors)}
    engine = TensorFlowEngine("float32", extractor_manifest({}, name=name), contents.__getitem__, threads=1)
    contents |= export_float16(convert_graph(engine)) | {
        GOLDEN_FILE: golden.record_extractor(engine, SIDE),
        CARD_FILE: f"# {name}\n\nRandom weights.".encode(),
        **more_files,
    }

    def build(version: int) -> tuple[ExtractorManifest, Mapping[str, bytes]]:
        return extractor_manifest(contents, name=name, version=version, engines=ENGINES), contents

    artifact: ExtractorArtifact = store.add(ExtractorManifest, name, build)
    return Extractor(artifact.manifest, engine)
