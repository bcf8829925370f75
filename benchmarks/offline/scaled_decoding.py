"""Scaled decoding of large JPEGs: its effect on the accuracy of a classifier, and on the time of preprocessing.

Each photo is enlarged, sharpened and compressed as a camera does it, and then preprocessed in two ways: decoded whole,
and at 1/2, 1/4 or 1/8 as `decode_margin` allows. Both results go through the same network and head.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer
from PIL import Image, ImageFilter

from benchmarks.harness.report import Figure, Measurement
from benchmarks.harness.scenario import Scenario
from benchmarks.options import ModelOption, StoreOption
from models.arrays import Pixels
from models.artifacts import catalog
from models.artifacts.store import DEFAULT_STORE, Store
from models.classifier import BatchItem, Classifier, classify
from models.console.tensorflow_logs import hide_startup_messages
from models.decoding.image import decode
from models.decoding.resample import resample, resizer_name
from models.preprocess import PreprocessSpec, default_decode_margin, prepare
from training.data.split import StoredImage
from training.evaluation.evaluate import load_labelled_split

MAX_LOSS = 0.3
"""Accuracy that scaled decoding may cost, in percentage points."""

_BATCH = 16
_NOISE = 3.0  # standard deviation, in levels of 0 to 255, before sharpening
_SHARPENING = ImageFilter.UnsharpMask(radius=1.5, percent=80, threshold=0)
_QUALITY = 90
_MAX_RATIO_OF_SIDES = 2.2

Shares = npt.NDArray[np.float64]


def run(
    data: Annotated[Path, typer.Argument(help="Folder or archive of photos: SPLIT/CLASS/...")],
    split: Annotated[str, typer.Option(help="Name of the split.")] = "test",
    rename: Annotated[list[str] | None, typer.Option(help="FOLDER=CLASS, for a folder that is not named so.")] = None,
    count: Annotated[int, typer.Option(min=2, help="Maximum number of photos, drawn at random.")] = 2000,
    short_side: Annotated[int, typer.Option(min=64, help="Short side of the enlarged photos in pixels.")] = 3000,
    margin: Annotated[int | None, typer.Option(min=1, help="The decode_margin; default: of new classifiers.")] = None,
    model: ModelOption = "cifar10",
    store: StoreOption = DEFAULT_STORE,
) -> Measurement:
    """Large JPEGs decoded at a reduced size, compared with the same decoded whole: accuracy and time."""
    with hide_startup_messages():
        classifier = catalog.load(Store(store.resolve()), [model]).classifiers[0]
    names = dict(argument.partition("=")[::2] for argument in rename or [])
    photos = load_labelled_split(data, split, classifier.manifest, names)
    drawn = np.random.default_rng(0).permutation(len(photos))[:count]
    margin = margin or default_decode_margin(classifier.spec.source_side)
    return measure(classifier, [(photos.images[i], int(photos.labels[i])) for i in drawn], short_side, margin)


SCENARIO = Scenario("scaled", run)


def measure(classifier: Classifier, photos: list[tuple[StoredImage, int]], short_side: int, margin: int) -> Measurement:
    """Classify each photo both ways.

    Args:
        classifier: the classifier; its own `decode_margin` is ignored.
        photos: photos with the index of their class; those of extreme shapes are left out.
        short_side: of the enlarged photos, px.
        margin: the `decode_margin`.
    """
    specs = [classifier.spec.model_copy(update={"decode_margin": value}) for value in (None, margin)]
    labels, classes, seconds = [], [], np.zeros(len(specs))
    enlarged = _enlarged(photos, short_side)
    while batch := list(islice(enlarged, _BATCH)):
        rows: list[list[Pixels]] = []
        for number, spec in enumerate(specs):
            began = time.process_time()
            rows.append([prepare(data, [spec])[spec] for data, _ in batch])
            seconds[number] += time.process_time() - began
        labels += [label for _, label in batch]
        classes.append(np.stack([_most_likely(classifier, pixels) for pixels in rows], axis=1))
    answers = np.concatenate(classes)
    is_correct = answers == np.array(labels)[:, None]
    return _describe(classifier, specs, is_correct, answers[:, 0] == answers[:, 1], seconds, short_side)


def paired_difference(whole: Shares, scaled: Shares) -> tuple[float, float, float]:
    """Return the difference of two accuracies on the same images in points, and its 95 % interval (normal)."""
    change = 100 * (scaled - whole)
    half = 1.96 * change.std(ddof=1) / math.sqrt(len(change))
    return float(change.mean()), float(change.mean() - half), float(change.mean() + half)


def camera_jpeg(photo: Image.Image, short_side: int, random: np.random.Generator) -> bytes:
    """Enlarge an RGB photo to `short_side` px, and add noise, sharpening and compression like a camera's."""
    scale = short_side / min(photo.size)
    large = np.asarray(resample(photo, (round(photo.width * scale), round(photo.height * scale)), "lanczos"))
    noisy = large + random.standard_normal(large.shape, np.float32) * _NOISE
    image = Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).filter(_SHARPENING)
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()


def _enlarged(photos: list[tuple[StoredImage, int]], short_side: int) -> Iterator[tuple[bytes, int]]:
    random = np.random.default_rng(0)
    for file, label in photos:
        photo = decode(file.read_bytes())
        if max(photo.size) <= _MAX_RATIO_OF_SIDES * min(photo.size):
            yield camera_jpeg(photo, short_side, random), label


def _most_likely(classifier: Classifier, rows: list[Pixels]) -> npt.NDArray[np.int64]:
    batch = [BatchItem(pixels, (classifier,)) for pixels in rows]
    return np.array([result.argmax() for (result,) in classify(classifier.extractor.engine, batch)])


def _describe(
    classifier: Classifier,
    specs: list[PreprocessSpec],
    is_correct: npt.NDArray[np.bool_],
    is_same: npt.NDArray[np.bool_],
    seconds: Shares,
    short_side: int,
) -> Measurement:
    whole, scaled = is_correct.T.astype(float)
    difference, low, high = paired_difference(whole, scaled)
    return Measurement(
        f"{len(is_same):,} photos of {short_side} px (short side), decoded whole and at a reduced size",
        [
            Figure("accuracy, decoded whole", [whole.mean()]),
            Figure("accuracy, decoded at a reduced size", [scaled.mean()]),
            Figure("difference", [difference], "points", at_least=-MAX_LOSS),
            Figure("the same class", [is_same.mean()]),
            Figure("CPU time of preprocessing, whole / reduced", [seconds[0] / seconds[1]]),
        ],
        {
            "difference, 95 % interval (paired)": f"{low:+.2f} to {high:+.2f} points",
            "CPU ms per photo, whole and reduced": " and ".join(f"{1000 * s / len(is_same):.1f}" for s in seconds),
            "classifier": classifier.label,
            "decode_margin": str(specs[1].decode_margin),
            "resizer": resizer_name(),
        },
    )
