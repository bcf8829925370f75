"""Golden outputs: reference outputs of a model, recorded when it is built and replayed whenever it is loaded.

Extractors and heads are checked separately, because boosted trees jump on tiny differences of their features. An
extractor is checked by the cosine similarity of its features and the agreement of its top classes; a head is checked on
stored features to 1e-5. The images are synthetic, so that artifacts contain no photos.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from models.arrays import Floats, Pixels
from models.artifacts.npz import read_npz
from models.engines.base import Outputs, Runner
from models.errors import GoldenMismatch
from models.heads import Head
from models.manifests import Agreement
from models.networks import POOLED

IMAGE_COUNT = 64
HEAD_TOLERANCE = 1e-5
_OUTPUT_DIMENSIONS = 2

_ADVICE = "Use another engine, or install the artifact again."


def synthetic_images(size: int, count: int = IMAGE_COUNT, seed: int = 0) -> Pixels:
    """Draw coloured shapes on gradients, uint8 [count, size, size, 3]; deterministic for a seed."""
    random = np.random.default_rng(seed)
    return np.stack([_synthetic_image(size, random) for _ in range(count)])


def record_extractor(engine: Runner, size: int) -> bytes:
    """Run the synthetic images; return golden.npz: images, float16 features, most likely class of each softmax."""
    images = synthetic_images(size)
    outputs = engine.run(images)
    return _npz(images=images, pooled=outputs[POOLED].astype(np.float16), **_top_classes(outputs))


def measure_agreement(golden: bytes, engine: Runner) -> Agreement:
    """Measure how closely an engine reproduces the golden outputs; `min_top1` is the minimum over the tops.

    Raises:
        GoldenMismatch: the golden outputs cannot be read.
    """
    expected = _load(golden, "images", ndim=4, outputs=POOLED)
    outputs = engine.run(expected["images"])
    if outputs[POOLED].shape != expected[POOLED].shape:
        raise GoldenMismatch("The network returns another number of features than stored.")
    cosines = np.nan_to_num(np.clip(_cosines(outputs[POOLED], expected["pooled"].astype(np.float32)), 0, 1))
    actual = _top_classes(outputs)
    shares = [float((classes == expected[key]).mean()) if key in expected else 0.0 for key, classes in actual.items()]
    return Agreement(
        min_cosine=float(cosines.min()), mean_cosine=float(cosines.mean()), min_top1=min(shares, default=1.0)
    )


def replay_extractor(golden: bytes, engine: Runner, required: Agreement) -> None:
    """Compare an engine with the golden outputs.

    Raises:
        GoldenMismatch: features or top classes differ by more than the manifest allows.
    """
    measured = measure_agreement(golden, engine)
    for name, cosine, min_cosine in (
        ("cosine similarity", measured.min_cosine, required.min_cosine),
        ("mean cosine similarity", measured.mean_cosine, required.mean_cosine),
    ):
        if not cosine >= min_cosine:
            raise GoldenMismatch(
                f"{engine.name} does not reproduce the stored features: {name} {cosine:.5f} "
                f"(required: {min_cosine}). {_ADVICE}"
            )
    if measured.min_top1 < required.min_top1:
        raise GoldenMismatch(
            f"{engine.name} agrees with the stored predictions on only {measured.min_top1:.0%} of the golden images "
            f"(required: {required.min_top1:.0%}). {_ADVICE}"
        )


def record_head(head: Head, features: Floats) -> bytes:
    """Run a head on features; returns golden.npz: the features as float16, and the probabilities."""
    stored = features.astype(np.float16)
    return _npz(features=stored, probabilities=head.predict_proba(stored.astype(np.float32)))


def replay_head(golden: bytes, head: Head) -> None:
    """Compare a head with its golden outputs.

    Raises:
        GoldenMismatch: a probability differs by more than 1e-5, or the head fails.
    """
    expected = _load(golden, "features", ndim=2, outputs="probabilities")
    try:
        actual = head.predict_proba(expected["features"].astype(np.float32))
    except Exception as error:  # an estimator that is not fitted, or fitted on other features, can raise anything
        raise GoldenMismatch(f"The head fails on its stored features ({type(error).__name__}).") from error
    if actual.shape != expected["probabilities"].shape:
        raise GoldenMismatch(
            "The head returns another number of probabilities than stored. Install the classifier again."
        )
    difference = float(np.abs(actual - expected["probabilities"]).max())
    if not difference <= HEAD_TOLERANCE:
        raise GoldenMismatch(
            f"The head does not reproduce its stored probabilities: they differ by up to {difference:.2g} "
            f"(allowed: {HEAD_TOLERANCE:g}). Install the classifier again."
        )


def _synthetic_image(size: int, random: np.random.Generator) -> Pixels:
    corners = random.integers(0, 256, (2, 2, 3), dtype=np.uint8)
    image = Image.fromarray(corners).resize((size, size), Image.Resampling.BILINEAR)
    canvas = ImageDraw.Draw(image)
    for _ in range(random.integers(2, 7)):
        colour = tuple(int(value) for value in random.integers(0, 256, 3))
        left, top = random.uniform(-0.2, 0.8, 2) * size
        width, height = random.uniform(0.15, 0.7, 2) * size
        box = (left, top, left + width, top + height)
        shape = random.integers(0, 4)
        if shape == 0:
            canvas.ellipse(box, fill=colour)
        elif shape == 1:
            canvas.rectangle(box, fill=colour)
        elif shape == 2:
            canvas.polygon([tuple(point) for point in (random.uniform(0, 1, (3, 2)) * size).tolist()], fill=colour)
        else:
            canvas.line(box, fill=colour, width=max(1, size // 16))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(size / 128)))


def _top_classes(outputs: Outputs) -> dict[str, npt.NDArray[np.int64]]:
    return {f"top_class_{name}": value.argmax(axis=1) for name, value in outputs.items() if name != POOLED}


def _cosines(actual: Floats, expected: Floats) -> Floats:
    lengths = np.linalg.norm(actual, axis=1) * np.linalg.norm(expected, axis=1)
    cosines: Floats = (actual * expected).sum(axis=1) / np.maximum(lengths, np.float32(1e-12))
    return cosines


def _npz(**arrays: npt.NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _load(golden: bytes, inputs: str, *, ndim: int, outputs: str) -> dict[str, npt.NDArray[Any]]:
    """Read golden outputs; `inputs` has `ndim` dimensions and at least one row, and all arrays have as many rows."""
    try:
        arrays = read_npz(golden)
        rows = len(arrays[inputs])
        are_valid = rows > 0 and arrays[inputs].ndim == ndim and arrays[outputs].ndim == _OUTPUT_DIMENSIONS
        if not (are_valid and all(array.shape[:1] == (rows,) for array in arrays.values())):
            raise ValueError("an array has another shape")
        return arrays
    except Exception as error:  # a damaged archive can raise nearly any exception
        raise GoldenMismatch("The golden outputs cannot be read.") from error
