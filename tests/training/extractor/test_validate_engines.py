"""Engine files of a fitted extractor, and how closely each engine repeats the reference."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import networks
from models.arrays import Pixels
from models.artifacts import golden
from models.artifacts.catalog import load_extractor
from models.artifacts.store import Store
from models.console.progress import silent
from models.engines.base import Outputs, Runner
from models.engines.selection import EngineSelection, create
from models.engines.tensorflow import TensorFlowEngine
from models.errors import CorruptArtifact, GoldenMismatch
from models.manifests import (
    GOLDEN_FILE,
    OPENVINO_FLOAT,
    OPENVINO_INT8,
    WEIGHTS_FILE,
    Agreement,
    ExtractorManifest,
)
from models.preprocess import PreprocessSpec
from tests.support import colour_dataset, tiny_fit
from tests.support.manifests import extractor_manifest
from training.data.dataset import load_dataset
from training.errors import DatasetError
from training.extractor import openvino_export
from training.extractor.validate_engines import (
    REFERENCE,
    EngineFiles,
    FittedDataset,
    calibration_samples,
    float_tolerance,
    int8_tolerance,
    validate_engines,
)
from training.network.fit import fit_network
from training.partition.partition import FIT, Partition
from training.recipes.data import DatasetSpec
from training.runtime.context import RunContext


@dataclass(frozen=True)
class Fitted:
    """A network that recognizes colours and stripes, and its validated engine files."""

    draft: ExtractorManifest
    weights: bytes
    labelled: list[FittedDataset]
    samples: Pixels
    ctx: RunContext
    validated: EngineFiles
    lines: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    folder = tmp_path_factory.mktemp("proof")
    tiny_fit.write(folder)
    sets, network = tiny_fit.load(folder), tiny_fit.network(passes=6)
    weights = networks.to_bytes(fit_network(network, 0, sets, None, folder / "cache").tensors)
    tops = {task.top: data.dataset.class_ids for task, data in zip(network.tasks, sets, strict=True)}
    draft = extractor_manifest({}, tops=tops, engines={}, outputs={})
    labelled = [FittedDataset(task.top, data, task.preprocess) for task, data in zip(network.tasks, sets, strict=True)]
    lines: list[str] = []
    ctx = RunContext(Store(folder / "store"), silent, lines.append, cache=folder / "cache")
    chosen = np.concatenate([calibration_samples(top.partition, FIT, top.preprocess) for top in labelled])
    validated = validate_engines(draft, weights, labelled, chosen, ctx)
    return Fitted(draft, weights, labelled, chosen, ctx, validated, lines)


@dataclass(frozen=True)
class RotatingEngine:
    """The same network, but it gets every image rotated by 90 degrees."""

    engine: Runner

    @property
    def name(self) -> str:
        return self.engine.name

    def run(self, batch: Pixels) -> Outputs:
        return self.engine.run(np.ascontiguousarray(np.rot90(batch, axes=(1, 2))))


@dataclass(frozen=True)
class SwappedChannels:
    """The same network, but it gets the colour channels in reverse order."""

    engine: Runner

    @property
    def name(self) -> str:
        return self.engine.name

    def run(self, batch: Pixels) -> Outputs:
        return self.engine.run(np.ascontiguousarray(batch[..., ::-1]))


def run_engines(fitted: Fitted, validated: EngineFiles, *names: str) -> list[Outputs]:
    """Return the outputs of engines for the same images."""
    return [
        create(name, fitted.draft, validated.files.__getitem__, 1).run(golden.synthetic_images(32, 40))
        for name in names
    ]


def test_network_that_loses_no_accuracy_gets_8_bits(fitted: Fitted) -> None:
    assert set(OPENVINO_INT8) < set(fitted.validated.files)
    assert "openvino:int8" in fitted.validated.engines
    assert not set(OPENVINO_FLOAT) & set(fitted.validated.files), "the network is stored twice"
    assert any("loss of accuracy in 8 bits on held-out images: colours" in line for line in fitted.lines)


def test_predictions_in_8_bits_are_close_to_the_reference(fitted: Fitted) -> None:
    engines = [
        create(name, fitted.draft, fitted.validated.files.__getitem__, 1)
        for name in ("tensorflow:float32", "openvino:int8")
    ]
    reference, quantized = (engine.run(golden.synthetic_images(32, 40)) for engine in engines)
    for top in fitted.draft.tops:
        agree = (reference[top].argmax(axis=1) == quantized[top].argmax(axis=1)).mean()
        assert agree > 0.8, f"{top}: only {agree:.0%} of the top classes agree"


def test_network_that_would_lose_accuracy_stays_float(fitted: Fitted, monkeypatch: pytest.MonkeyPatch) -> None:
    """The quantized network is replaced by one that was not fitted."""
    tops = {top: len(names) for top, names in fitted.draft.tops.items()}
    other = {WEIGHTS_FILE: networks.to_bytes(networks.get_tensors(networks.build("small_cnn", tiny_fit.SIZE, tops)))}
    reference = create(REFERENCE, fitted.draft, other.__getitem__, 1)
    assert isinstance(reference, TensorFlowEngine)
    unfitted = openvino_export.export_int8(openvino_export.convert_graph(reference), fitted.samples)
    monkeypatch.setattr(openvino_export, "export_int8", lambda *_: unfitted)
    actual = validate_engines(fitted.draft, fitted.weights, fitted.labelled, fitted.samples, fitted.ctx)
    assert "openvino:int8" not in actual.engines
    assert {"openvino:bfloat16", "openvino:float32"} < set(actual.engines)
    assert not set(OPENVINO_INT8) & set(actual.files)


def test_unfitted_network_stays_float_and_predicts_the_same_on_openvino(fitted: Fitted) -> None:
    actual = validate_engines(fitted.draft, fitted.weights, [], None, fitted.ctx)
    reference, other = run_engines(fitted, actual, "tensorflow:float32", "openvino:float32")
    for name, values in reference.items():
        np.testing.assert_allclose(other[name], values, atol=2e-3)


def test_tolerances_accept_the_engine_and_reject_other_outputs(fitted: Fitted) -> None:
    golden_file = fitted.validated.files[GOLDEN_FILE]
    for name, needed in fitted.validated.engines.items():
        if name.startswith("openvino"):
            engine = create(name, fitted.draft, fitted.validated.files.__getitem__, 1)
            golden.replay_extractor(golden_file, engine, needed)
            assert golden.measure_agreement(golden_file, engine).mean_cosine > needed.mean_cosine
            assert needed.mean_cosine > 0.5
            for damaged in (RotatingEngine(engine), SwappedChannels(engine)):
                with pytest.raises(GoldenMismatch):
                    golden.replay_extractor(golden_file, damaged, needed)


@given(st.floats(0.01, 1), st.floats(0.01, 1), st.floats(0.01, 1))
def test_tolerance_is_always_less_than_the_measured_agreement(lowest: float, mean: float, top1: float) -> None:
    actual = Agreement(min_cosine=lowest, mean_cosine=mean, min_top1=top1)
    needed = int8_tolerance(actual)
    assert needed.min_cosine < lowest
    assert needed.mean_cosine < mean
    assert needed.min_top1 < top1


@pytest.mark.parametrize(
    ("measured", "required"), [(0.998, 0.997), (0.99, 0.985), (0.95, 0.925), (0.9, 0.85), (0.3, 0)]
)
def test_distance_in_8_bits_may_be_half_as_large_again(measured: float, required: float) -> None:
    actual = int8_tolerance(Agreement(min_cosine=measured, mean_cosine=measured, min_top1=measured))
    for value in (actual.min_cosine, actual.mean_cosine):
        assert required - 0.001 <= value <= required
    assert min(required, 0.98) - 0.001 <= actual.min_top1 <= min(required, 0.98)


def test_required_agreement_of_each_float_engine(fitted: Fitted) -> None:
    """Less would let a damaged engine serve, more would reject processors that round in another order."""
    engines = validate_engines(fitted.draft, fitted.weights, [], None, fitted.ctx).engines
    assert {name: (needed.min_cosine, needed.min_top1) for name, needed in engines.items()} == {
        "tensorflow:float32": (0.9999, 0.98),
        "tensorflow:bfloat16": (0.99, 0.9),
        "tensorflow:float16": (0.99, 0.9),
        "openvino:bfloat16": (0.99, 0.9),
        "openvino:float32": (0.9999, 0.98),
    }


def test_network_that_ignores_colour_stays_float(fitted: Fitted) -> None:
    """On its golden images, swapped channels cannot be told from rounding."""
    kernels = networks.from_bytes(fitted.weights)
    first = next(name for name, kernel in kernels.items() if kernel.ndim == 4 and kernel.shape[2] == 3)
    kernels[first] = np.repeat(kernels[first].mean(axis=2, keepdims=True), 3, axis=2)
    weights = networks.to_bytes(kernels)
    actual = validate_engines(fitted.draft, weights, fitted.labelled, fitted.samples, fitted.ctx, max_int8_loss=1)
    assert "openvino:int8" not in actual.engines
    assert any("8 bits are not used" in line for line in fitted.lines)


def test_concurrent_batches_give_the_features_of_one_large_batch(fitted: Fitted) -> None:
    """Cached rows do not depend on how they were batched."""
    images = golden.synthetic_images(32, 96)
    for name in ("openvino:int8", "openvino:float32"):
        validated = (
            fitted.validated
            if name in fitted.validated.engines
            else validate_engines(fitted.draft, fitted.weights, [], None, fitted.ctx)
        )
        engine = create(name, fitted.draft, validated.files.__getitem__, 2)
        assert engine.max_concurrent_runs == 2
        with ThreadPoolExecutor(2) as pool:
            actual = list(pool.map(engine.concurrent.run, np.split(images, 4)))
        for output, values in engine.run(images).items():
            np.testing.assert_array_equal(np.concatenate([part[output] for part in actual]), values)


def test_served_extractor_uses_the_int8_file(fitted: Fitted, tmp_path: Path) -> None:
    files = fitted.validated.files

    def build(version: int) -> tuple[ExtractorManifest, dict[str, bytes]]:
        manifest = extractor_manifest(files, version=version, tops=fitted.draft.tops, outputs=fitted.validated.outputs)
        return manifest.model_copy(update={"engines": dict(fitted.validated.engines)}), dict(files)

    artifact = Store(tmp_path).add(ExtractorManifest, "tiny_net", build)
    assert load_extractor(artifact).engine.name == "openvino:int8"
    assert load_extractor(artifact, EngineSelection("tensorflow", "float32")).engine.name == "tensorflow:float32"


def test_damaged_openvino_file_is_rejected(fitted: Fitted) -> None:
    files = {**fitted.validated.files, OPENVINO_INT8[0]: b"<net"}
    with pytest.raises(CorruptArtifact, match=r"OpenVINO cannot read int8\.xml"):
        create("openvino:int8", fitted.draft, files.__getitem__, 1)


@given(st.floats(0.9, 1), st.floats(0.9, 1), st.floats(0.5, 1))
def test_float_tolerance_is_the_usual_one_or_below_the_measured(low: float, mean: float, top1: float) -> None:
    measured = Agreement(min_cosine=min(low, mean), mean_cosine=mean, min_top1=top1)
    required = float_tolerance(measured)
    assert required.min_cosine <= measured.min_cosine
    assert required.mean_cosine <= measured.mean_cosine
    assert required.min_top1 <= measured.min_top1
    if measured.min_cosine >= 0.9999 and measured.min_top1 >= 0.98:
        assert required == Agreement(min_cosine=0.9999, min_top1=0.98)


def test_images_that_all_look_like_measured_ones_cannot_calibrate(tmp_path: Path) -> None:
    colour_dataset.write(tmp_path / "colours", train=2, test=2)
    dataset = load_dataset(DatasetSpec(path="colours"), tmp_path)
    alike = dict.fromkeys((digest for split in dataset.splits.values() for digest in split.digests), 0)
    with pytest.raises(DatasetError, match="none is left to calibrate 8 bits with"):
        calibration_samples(Partition(dataset, alike), FIT, PreprocessSpec(size=32))
