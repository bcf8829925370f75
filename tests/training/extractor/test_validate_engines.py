"""What a fitted extractor can run on."""

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
from tests.support import tiny_fit
from tests.support.tiny_models import extractor_manifest
from training.extractor import openvino_export as openvino_files
from training.extractor import validate_engines as proof
from training.extractor.validate_engines import EngineFiles, Labelled, samples, tolerance, validate_engines
from training.network.fit import fit
from training.runtime.context import RunContext


@dataclass(frozen=True)
class Made:
    """A network that tells colours and stripes apart, before and after it was proved."""

    draft: ExtractorManifest
    weights: bytes
    labelled: list[Labelled]
    samples: Pixels
    at: RunContext
    proved: EngineFiles
    said: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("proof")
    tiny_fit.write(folder)
    sets, network = tiny_fit.load(folder), tiny_fit.network(passes=6)
    weights = networks.to_bytes(fit(network, 0, sets, None, folder / "cache").tensors)
    tops = {task.top: data.ids for task, data in zip(network.tasks, sets, strict=True)}
    draft = extractor_manifest({}, tops=tops, engines={}, outputs={})
    labelled = [Labelled(task.top, data, task.preprocess) for task, data in zip(network.tasks, sets, strict=True)]
    said: list[str] = []
    at = RunContext(Store(folder / "store"), silent, said.append, cache=folder / "cache")
    chosen = np.concatenate([samples(each.data.train, each.data.fitted, each.spec) for each in labelled])
    return Made(draft, weights, labelled, chosen, at, validate_engines(draft, weights, labelled, chosen, at), said)


@dataclass(frozen=True)
class Turned:
    """An engine that gets every picture turned by a quarter: the network as it is, on other pixels."""

    engine: Runner

    @property
    def name(self) -> str:
        return self.engine.name

    def run(self, batch: Pixels) -> Outputs:
        return self.engine.run(np.ascontiguousarray(np.rot90(batch, axes=(1, 2))))


def answers(made: Made, proved: EngineFiles, *names: str) -> list[Outputs]:
    """What engines make of the same pictures."""
    return [
        create(name, made.draft, proved.files.__getitem__, 1).run(golden.synthetic_images(32, 40)) for name in names
    ]


def test_a_network_that_loses_nothing_is_brought_to_8_bits(made: Made) -> None:
    assert set(OPENVINO_INT8) < set(made.proved.files)
    assert "openvino:int8" in made.proved.engines
    assert not set(OPENVINO_FLOAT) & set(made.proved.files), "the network lies there twice"
    assert any("8 bits cost of accuracy on held-out images: colours" in line for line in made.said)


def test_its_answers_in_8_bits_are_nearly_those_of_the_reference(made: Made) -> None:
    engines = [
        create(name, made.draft, made.proved.files.__getitem__, 1) for name in ("tensorflow:float32", "openvino:int8")
    ]
    reference, quantised = (engine.run(golden.synthetic_images(32, 40)) for engine in engines)
    for top in made.draft.tops:
        agree = (reference[top].argmax(axis=1) == quantised[top].argmax(axis=1)).mean()
        assert agree > 0.8, f"{top}: only {agree:.0%} of the top classes agree"


def test_a_network_that_would_lose_stays_as_it_is(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """What NNCF makes is replaced by a network that has learned nothing."""
    tops = {top: len(names) for top, names in made.draft.tops.items()}
    other = {WEIGHTS_FILE: networks.to_bytes(networks.tensors(networks.build("small_cnn", tiny_fit.SIZE, tops)))}
    reference = create(proof.REFERENCE, made.draft, other.__getitem__, 1)
    assert isinstance(reference, TensorFlowEngine)
    unlearned = openvino_files.int8(openvino_files.convert(reference), made.samples)
    monkeypatch.setattr(openvino_files, "int8", lambda *_: unlearned)
    found = validate_engines(made.draft, made.weights, made.labelled, made.samples, made.at)
    assert "openvino:int8" not in found.engines
    assert {"openvino:bfloat16", "openvino:float32"} < set(found.engines)
    assert not set(OPENVINO_INT8) & set(found.files)


def test_a_network_that_was_not_fitted_stays_as_it_is_and_answers_alike_on_both(made: Made) -> None:
    found = validate_engines(made.draft, made.weights, [], None, made.at)
    reference, other = answers(made, found, "tensorflow:float32", "openvino:float32")
    for name, values in reference.items():
        np.testing.assert_allclose(other[name], values, atol=2e-3)


def test_tolerances_leave_room_but_refuse_another_network(made: Made) -> None:
    golden_file = made.proved.files[GOLDEN_FILE]
    for name, needed in made.proved.engines.items():
        if name.startswith("openvino"):
            engine = create(name, made.draft, made.proved.files.__getitem__, 1)
            golden.replay_extractor(golden_file, engine, needed)
            assert golden.measure_agreement(golden_file, engine).mean_cosine > needed.mean_cosine
            assert needed.mean_cosine > 0.5
            with pytest.raises(GoldenMismatch):
                golden.replay_extractor(golden_file, Turned(engine), needed)


@given(st.floats(0.01, 1), st.floats(0.01, 1), st.floats(0.01, 1))
def test_a_tolerance_is_always_less_than_what_was_found(least: float, mean: float, top1: float) -> None:
    found = Agreement(min_cosine=least, mean_cosine=mean, min_top1=top1)
    needed = tolerance(found)
    assert needed.min_cosine < least
    assert needed.mean_cosine < mean
    assert needed.min_top1 < top1


def test_batches_side_by_side_give_the_features_of_one_batch_on_all_cores(made: Made) -> None:
    """So rows of the cache are the same, whoever made them."""
    pictures = golden.synthetic_images(32, 96)
    for name in ("openvino:int8", "openvino:float32"):
        proved = (
            made.proved
            if name in made.proved.engines
            else validate_engines(made.draft, made.weights, [], None, made.at)
        )
        engine = create(name, made.draft, proved.files.__getitem__, 2)
        assert engine.max_concurrent_runs == 2
        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(engine.concurrent.run, np.split(pictures, 4)))
        for output, values in engine.run(pictures).items():
            np.testing.assert_array_equal(np.concatenate([part[output] for part in found]), values)


def test_the_served_extractor_takes_the_int8_file(made: Made, tmp_path: Path) -> None:
    files = made.proved.files

    def build(version: int) -> tuple[ExtractorManifest, dict[str, bytes]]:
        manifest = extractor_manifest(files, version=version, tops=made.draft.tops, outputs=made.proved.outputs)
        return manifest.model_copy(update={"engines": dict(made.proved.engines)}), dict(files)

    artifact = Store(tmp_path).add(build, ExtractorManifest, "tiny_net")
    assert load_extractor(artifact).engine.name == "openvino:int8"
    assert load_extractor(artifact, EngineSelection("tensorflow", "float32")).engine.name == "tensorflow:float32"


def test_a_file_that_is_no_network_is_refused(made: Made) -> None:
    files = {**made.proved.files, OPENVINO_INT8[0]: b"<net"}
    with pytest.raises(CorruptArtifact, match=r"OpenVINO cannot read int8\.xml"):
        create("openvino:int8", made.draft, files.__getitem__, 1)
