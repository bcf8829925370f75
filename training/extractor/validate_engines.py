"""Makes an extractor's files for every engine, and measures how closely each engine repeats the reference.

The reference is TensorFlow in float32. OpenVINO gets the network in 8 bits if its tops lose next to no accuracy on
held-out images and the golden outputs can tell it from a damaged engine, and otherwise the float network, for bfloat16
and float32.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models.arrays import Pixels
from models.artifacts import golden
from models.console.progress import Track
from models.cpu import has_bfloat16
from models.engines.base import Engine, Outputs
from models.engines.selection import create
from models.engines.tensorflow import TensorFlowEngine, gpus
from models.errors import GoldenMismatch
from models.manifests import GOLDEN_FILE, WEIGHTS_FILE, Agreement, ExtractorManifest
from models.preprocess import PreprocessSpec
from training.data.loader import prepared_batches
from training.data.split import Split
from training.errors import DatasetError
from training.extractor import openvino_export
from training.partition.partition import HOLDOUT, TEST, Partition
from training.partition.record import Stage, Use
from training.runtime.context import RunContext

REFERENCE = "tensorflow:float32"
_INT8 = "openvino:int8"
_FLOAT = "openvino:float32"

#: Required agreement with the reference. It leaves room for other processors and other batch sizes, which round
#: differently.
_FLOAT32_AGREEMENT = Agreement(min_cosine=0.9999, min_top1=0.98)
_FLOAT16_AGREEMENT = Agreement(min_cosine=0.99, min_top1=0.9)
#: In 8 bits the distance from the reference may be this many times the measured one, because processors without 8-bit
#: instructions round differently.
_INT8_DISTANCE_FACTOR = 1.5
#: Largest loss of accuracy on held-out images at which 8 bits are used.
MAX_INT8_ACCURACY_LOSS = 0.003

#: Images to calibrate 8 bits with; NNCF's default for its subset.
_CALIBRATION_IMAGES = 300
_CALIBRATION_SEED = 20_230_807

#: Labelled images by top, and how they are preprocessed.
_LabelledSets = Mapping[str, tuple[Split, PreprocessSpec]]


@dataclass(frozen=True, eq=False)
class FittedDataset:
    """A dataset that a network was fitted on, and the preprocessing of its images.

    Attributes:
        top: name of the top that was fitted on its labels; empty if they were not used.
    """

    top: str
    partition: Partition
    preprocess: PreprocessSpec


@dataclass(frozen=True, eq=False)
class EngineFiles:
    """An extractor's files, the required agreement of each `engine:precision`, and the width of each output.

    Attributes:
        measured: top -> the images that the accuracy of each engine was measured on.
    """

    files: Mapping[str, bytes]
    engines: Mapping[str, Agreement]
    outputs: Mapping[str, int]
    measured: Mapping[str, Split]


def validate_engines(
    draft: ExtractorManifest,
    weights: bytes,
    labelled: Sequence[FittedDataset],
    samples: Pixels | None,
    ctx: RunContext,
    max_int8_loss: float | None = MAX_INT8_ACCURACY_LOSS,
) -> EngineFiles:
    """Make an extractor's files for every engine, and measure the engines that run on this machine.

    Args:
        draft: its manifest without engines and files.
        weights: contents of its weights file.
        labelled: datasets of its tops.
        samples: images to calibrate 8 bits with, uint8 [n, size, size, 3]; None: no 8-bit network.
        ctx: shows progress; its log receives the accuracy loss in 8 bits.
        max_int8_loss: largest accepted loss of accuracy of any top on its held-out images; None: not measured.

    Raises:
        DatasetError: images cannot be read.
    """
    files = {WEIGHTS_FILE: weights}
    reference = create(REFERENCE, draft, files.__getitem__)
    assert isinstance(reference, TensorFlowEngine)
    files[GOLDEN_FILE] = golden.record_extractor(reference, draft.input_size)
    engines = {
        REFERENCE: _FLOAT32_AGREEMENT,
        "tensorflow:bfloat16": _FLOAT16_AGREEMENT,
        "tensorflow:float16": _FLOAT16_AGREEMENT,
    }
    graph = openvino_export.convert_graph(reference)
    int8_files = {} if samples is None else openvino_export.export_int8(graph, samples)
    agreement = None
    if int8_files and (
        max_int8_loss is None or _int8_accuracy_loss(int8_files, draft, reference, labelled, ctx) <= max_int8_loss
    ):
        agreement = _required_of_int8(create(_INT8, draft, int8_files.__getitem__), files[GOLDEN_FILE], ctx)
    if agreement is not None:
        files |= int8_files
        engines[_INT8] = agreement
    else:
        files |= openvino_export.export_float16(graph)
        measured = golden.measure_agreement(files[GOLDEN_FILE], create(_FLOAT, draft, files.__getitem__))
        engines |= {"openvino:bfloat16": _FLOAT16_AGREEMENT, _FLOAT: float_tolerance(measured)}
    others = [create(name, draft, files.__getitem__) for name in engines if name != REFERENCE and _runs_here(name)]
    tests = _test_sets(labelled)
    for name, accuracies in _measure_accuracies([reference, *others], tests, ctx.track).items():
        engines[name] = engines[name].model_copy(update={"accuracy": accuracies})
    splits = {top: split for top, (split, _) in tests.items()}
    return EngineFiles(files, engines, _output_widths(reference, draft.input_size), splits)


def calibration_samples(partition: Partition, name: str, spec: PreprocessSpec) -> Pixels:
    """Return some images that are fitted on as the network receives them, always the same.

    Args:
        partition: of their dataset.
        name: of the set that is fitted on.
        spec: their preprocessing.

    Returns:
        uint8 [n, size, size, 3].

    Raises:
        DatasetError: no image is left to calibrate with.
    """
    if not partition.count(name):
        raise DatasetError(
            f"All training images of {partition.dataset.root} look like images that measure the result, so none is "
            "left to calibrate 8 bits with. Add others."
        )
    random = np.random.default_rng(_CALIBRATION_SEED)
    chosen = random.permutation(partition.count(name))[:_CALIBRATION_IMAGES]
    images = partition.hand_out(Stage.INT8, name, Use.FIT, chosen=chosen).images
    return np.concatenate([pixels for _, pixels in prepared_batches(dict(enumerate(images)), spec)])


def int8_tolerance(measured: Agreement) -> Agreement:
    """Return the agreement that is required of an engine in 8 bits, always less than the measured one.

    Other processors round in another order. Single images may differ more than the mean over all of them.
    """

    def required(value: float, upper_limit: float) -> float:
        tolerated = math.floor(1000 * (1 - _INT8_DISTANCE_FACTOR * (1 - value))) / 1000
        return max(0.0, min(upper_limit, tolerated))

    return Agreement(
        min_cosine=required(measured.min_cosine, _FLOAT32_AGREEMENT.min_cosine),
        mean_cosine=required(measured.mean_cosine, _FLOAT32_AGREEMENT.min_cosine),
        min_top1=required(measured.min_top1, _FLOAT32_AGREEMENT.min_top1),
    )


def float_tolerance(measured: Agreement) -> Agreement:
    """Return the agreement that is required of OpenVINO in float32: the usual one, or less if the file permits no more.

    The file has kernels that were rounded to float16 after folding. In EfficientNet-Lite0 and 1 this changes the
    features of single images by more than usual.
    """
    is_usual = measured.min_cosine >= _FLOAT32_AGREEMENT.min_cosine and measured.min_top1 >= _FLOAT32_AGREEMENT.min_top1
    return _FLOAT32_AGREEMENT if is_usual else int8_tolerance(measured)


@dataclass(frozen=True)
class _SwappedChannels:
    """An engine that gets the colour channels in reverse order, as from a decoder that returns BGR."""

    engine: Engine

    @property
    def name(self) -> str:
        return f"{self.engine.name} with swapped channels"

    def run(self, batch: Pixels) -> Outputs:
        return self.engine.run(np.ascontiguousarray(batch[..., ::-1]))


def _required_of_int8(engine: Engine, golden_file: bytes, ctx: RunContext) -> Agreement | None:
    """Return the agreement to require of an engine in 8 bits; None if a damaged engine would have it, too."""
    required = int8_tolerance(golden.measure_agreement(golden_file, engine))
    try:
        golden.replay_extractor(golden_file, _SwappedChannels(engine), required)
    except GoldenMismatch:
        return required
    ctx.log("8 bits are not used: on the golden images, swapped colour channels differ as little as rounding")
    return None


def _int8_accuracy_loss(
    int8_files: Mapping[str, bytes],
    draft: ExtractorManifest,
    reference: Engine,
    labelled: Sequence[FittedDataset],
    ctx: RunContext,
) -> float:
    """Return the largest loss of accuracy of any top on its held-out images."""
    quantized = create(_INT8, draft, int8_files.__getitem__)
    held_out = {top.top: (top.partition.hand_out(Stage.INT8, HOLDOUT, Use.CHOOSE), top.preprocess) for top in labelled}
    accuracies = _measure_accuracies([reference, quantized], held_out, ctx.track)
    losses = {top: accuracies[reference.name][top] - accuracies[quantized.name][top] for top in held_out}
    listed = ", ".join(f"{top} {loss:+.2%}" for top, loss in losses.items())
    ctx.log(f"loss of accuracy in 8 bits on held-out images: {listed}")
    return max(losses.values())


def _measure_accuracies(engines: Sequence[Engine], sets: _LabelledSets, track: Track) -> dict[str, dict[str, float]]:
    """Return engine -> top -> accuracy; each image is decoded once for all engines."""
    accuracies: dict[str, dict[str, float]] = {engine.name: {} for engine in engines}
    for top, (split, spec) in sets.items():
        correct = dict.fromkeys(accuracies, 0)
        with track(f"{top} by {', '.join(correct)}", len(split)) as advance:
            for indices, pixels in prepared_batches(dict(enumerate(split.images)), spec):
                for engine in engines:
                    predicted = engine.run(pixels)[top].argmax(axis=1)
                    correct[engine.name] += int((predicted == split.labels[indices]).sum())
                advance(len(indices))
        for name, count in correct.items():
            accuracies[name][top] = count / len(split)
    return accuracies


def _test_sets(labelled: Sequence[FittedDataset]) -> _LabelledSets:
    return {
        top.top: (top.partition.hand_out(Stage.ENGINES, TEST, Use.MEASURE), top.preprocess)
        for top in labelled
        if top.partition.may(Stage.ENGINES, TEST, Use.MEASURE)
    }


def _output_widths(engine: Engine, size: int) -> dict[str, int]:
    outputs = engine.run(golden.synthetic_images(size, 1))
    return {name: values.shape[1] for name, values in outputs.items()}


def _runs_here(name: str) -> bool:
    """Return whether this machine can run an engine by its name with precision."""
    precision = name.partition(":")[2]
    return {"bfloat16": has_bfloat16(), "float16": bool(gpus())}.get(precision, True)
