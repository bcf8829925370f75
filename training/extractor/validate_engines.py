"""What an extractor can run on: its files for OpenVINO, and how closely and how well each engine repeats it.

The reference is TensorFlow in float32. OpenVINO gets the network in 8 bits where the tops lose next to nothing by it on
held-out images, and otherwise as it is, for bfloat16 and float32.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models.arrays import Pixels
from models.artifacts import golden
from models.console.progress import Track
from models.cpu import has_bfloat16
from models.engines.base import Engine
from models.engines.selection import create
from models.engines.tensorflow import TensorFlowEngine, gpus
from models.heads import Integers
from models.manifests import GOLDEN_FILE, WEIGHTS_FILE, Agreement, ExtractorManifest
from models.preprocess import PreprocessSpec
from training.data import dataset as datasets
from training.data.dataset import Dataset, Split
from training.data.loader import prepared_batches
from training.extractor import openvino_export as openvino_files
from training.runtime.context import RunContext

REFERENCE = "tensorflow:float32"

#: What another processor or another batch size may change, with room to spare.
_EXACT = Agreement(min_cosine=0.9999, min_top1=0.98)
_HALF = Agreement(min_cosine=0.99, min_top1=0.9)
#: Processors without instructions for 8 bits round otherwise: half as far again from the reference.
_ROOM = 1.5
HARMLESS = 0.003
"""Of accuracy on held-out images: more, and 8 bits are too few."""

_SAMPLES = 300
_SEED = 20_230_807


@dataclass(frozen=True, eq=False)
class Labelled:
    """The dataset that a top was fitted on, and how its images are preprocessed."""

    top: str
    data: Dataset
    spec: PreprocessSpec

    @property
    def held_out(self) -> Split:
        """Images that it was not fitted on, and that are no test images."""
        return self.data.train.take(datasets.holdout(self.data.train))


@dataclass(frozen=True, eq=False)
class EngineFiles:
    """An extractor's files, what they run on (`engine:precision`), and its outputs' widths."""

    files: Mapping[str, bytes]
    engines: Mapping[str, Agreement]
    outputs: Mapping[str, int]


def validate_engines(
    draft: ExtractorManifest,
    weights: bytes,
    labelled: Sequence[Labelled],
    samples: Pixels | None,
    at: RunContext,
    may_cost: float = HARMLESS,
) -> EngineFiles:
    """Make an extractor's files for every engine, and measure those that run here.

    Args:
        draft: its manifest so far.
        weights: the bytes of its weights file.
        labelled: the datasets of its tops.
        samples: images to calibrate 8 bits with, uint8 [n, size, size, 3]; without any it stays as it is.
        at: shows progress, and is told what 8 bits cost.
        may_cost: how much accuracy of a top on its held-out images 8 bits may cost.

    Raises:
        DatasetError: images cannot be read.
    """
    files = {WEIGHTS_FILE: weights}
    reference = create(REFERENCE, draft, files.__getitem__)
    assert isinstance(reference, TensorFlowEngine)
    files[GOLDEN_FILE] = golden.record_extractor(reference, draft.input_size)
    engines = {REFERENCE: _EXACT, "tensorflow:bfloat16": _HALF, "tensorflow:float16": _HALF}
    network = openvino_files.convert(reference)
    int8 = {} if samples is None else openvino_files.int8(network, samples)
    if int8 and _cost(int8, draft, reference, labelled, at) <= may_cost:
        files |= int8
        found = golden.measure_agreement(files[GOLDEN_FILE], create("openvino:int8", draft, files.__getitem__))
        engines["openvino:int8"] = tolerance(found)
    else:
        files |= openvino_files.float16(network)
        engines |= {"openvino:bfloat16": _HALF, "openvino:float32": _EXACT}
    others = [create(name, draft, files.__getitem__) for name in engines if name != REFERENCE and _runs_here(name)]
    for name, accuracy in _accuracies([reference, *others], _test_sets(labelled), at.track).items():
        engines[name] = engines[name].model_copy(update={"accuracy": accuracy})
    widths = {
        name: values.shape[1] for name, values in reference.run(golden.synthetic_images(draft.input_size, 1)).items()
    }
    return EngineFiles(files, engines, widths)


def samples(train: Split, fitted: Integers, spec: PreprocessSpec) -> Pixels:
    """Some of the images that a network was fitted on, always the same, as it gets them."""
    chosen = np.random.default_rng(_SEED).permutation(fitted)[:_SAMPLES]
    return np.concatenate(list(_pixels(train.take(chosen), spec)))


def _cost(
    int8: Mapping[str, bytes], draft: ExtractorManifest, reference: Engine, labelled: Sequence[Labelled], at: RunContext
) -> float:
    """What 8 bits cost of accuracy on held-out images, where it is most."""
    if not labelled:
        return 0.0
    quantised = create("openvino:int8", draft, int8.__getitem__)
    held_out = {each.top: (each.held_out, each.spec) for each in labelled}
    found = _accuracies([reference, quantised], held_out, at.track)
    cost = {top: found[reference.name][top] - found[quantised.name][top] for top in held_out}
    told = ", ".join(f"{top} {points:+.2%}" for top, points in cost.items())
    at.log(f"8 bits cost of accuracy on held-out images: {told}")
    return max(cost.values())


def tolerance(found: Agreement) -> Agreement:
    """What is asked of an engine in 8 bits, which may be off on single drawn pictures, and not on all together.

    Always less than was found, since another processor rounds in another order.
    """

    def room(value: float, most: float) -> float:
        return max(0.0, min(most, math.floor(1000 * (1 - _ROOM * (1 - value))) / 1000))

    return Agreement(
        min_cosine=room(found.min_cosine, _EXACT.min_cosine),
        mean_cosine=room(found.mean_cosine, _EXACT.min_cosine),
        min_top1=room(found.min_top1, _EXACT.min_top1),
    )


def _runs_here(name: str) -> bool:
    precision = name.partition(":")[2]
    return {"bfloat16": has_bfloat16(), "float16": bool(gpus())}.get(precision, True)


_Sets = Mapping[str, tuple[Split, PreprocessSpec]]


def _test_sets(labelled: Sequence[Labelled]) -> _Sets:
    return {each.top: (each.data.test, each.spec) for each in labelled if each.data.test is not None}


def _accuracies(engines: Sequence[Engine], sets: _Sets, track: Track) -> dict[str, dict[str, float]]:
    """Engine -> top -> share of its images that the top names rightly; each image is decoded once for all engines."""
    accuracies: dict[str, dict[str, float]] = {engine.name: {} for engine in engines}
    for top, (split, spec) in sets.items():
        right = dict.fromkeys(accuracies, 0)
        with track(f"{top} by {', '.join(right)}", len(split)) as advance:
            for indices, pixels in prepared_batches(dict(enumerate(split.paths)), spec):
                for engine in engines:
                    found = engine.run(pixels)[top].argmax(axis=1)
                    right[engine.name] += int((found == split.labels[indices]).sum())
                advance(len(indices))
        for name, count in right.items():
            accuracies[name][top] = count / len(split)
    return accuracies


def _pixels(split: Split, spec: PreprocessSpec) -> Iterator[Pixels]:
    for _, pixels in prepared_batches(dict(enumerate(split.paths)), spec):
        yield pixels
