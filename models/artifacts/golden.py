"""Golden outputs: reference outputs of a model, recorded when it is built and compared whenever it is loaded.

What is required of an engine is in the manifest of the extractor (`Agreement`), not here: of the reference in float32
nearly equal features, of an engine in 8 bits features that are little further from those of the reference than they
were when the extractor was made (`training.extractor.validate_engines`). A head must return the stored probabilities of
stored features to 1e-5. Extractors and heads are checked separately, because boosted trees jump on tiny differences of
their features.

The golden images are random, so that artifacts contain no photos, and have the statistics of photos. A network in
8 bits rounds within the ranges that its activations have for photos. Drawings with plain surfaces exceed these ranges,
and what is cut off there hides a damaged engine. For version 3 of the shipped extractor in 8 bits, swapped colour
channels are 23 times as far from the reference as rounding on these images, and 3.6 times on drawings.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

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
_BATCH = 8

_MIN_SIDE = 8
_MAX_ENLARGEMENT = 4  # bounds the memory that a damaged file can take
_SPECTRAL_SLOPE = 1.2
_BRIGHTNESS, _CONTRAST = (80, 170), (30, 60)  # ranges of the mean and the deviation of an image
_COLOURFULNESS = 0.35  # deviation of each channel from the common light, as a share of it

_ADVICE = "Use another engine, or install the artifact again."


def synthetic_images(size: int, count: int = IMAGE_COUNT, seed: int = 0) -> Pixels:
    """Draw images with the statistics of photos, uint8 [count, size, size, 3]; deterministic for a seed.

    As in photos, amplitudes fall with the spatial frequency (Field 1987, "Relations between the statistics of natural
    images and the response properties of cortical cells"), and the three channels are correlated. They are drawn at a
    third of the size, because networks for small images receive enlarged ones.
    """
    return _enlarge(_draw(size, count, seed), size)


def record_extractor(engine: Runner, size: int) -> bytes:
    """Run the synthetic images of a size, and return golden.npz.

    It has the images as they were drawn, the size that they are enlarged to, float16 features, and the most likely
    class of each softmax. Enlarged images would take nine times the space.
    """
    drawn = _draw(size, IMAGE_COUNT, seed=0)
    outputs = _run(engine, _enlarge(drawn, size))
    sizes = np.full(len(drawn), size, np.int32)
    return _npz(images=drawn, size=sizes, pooled=outputs[POOLED].astype(np.float16), **_top_classes(outputs))


def measure_agreement(golden: bytes, engine: Runner) -> Agreement:
    """Measure how closely an engine reproduces the golden outputs; `min_top1` is the minimum over the tops.

    Raises:
        GoldenMismatch: the golden outputs cannot be read.
    """
    expected = _load(golden, "images", ndim=4, outputs=POOLED)
    outputs = _run(engine, _stored_images(expected))
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

    Args:
        golden: recorded by the reference; earlier versions recorded other images, which are part of it.
        engine: the engine.
        required: its agreement according to the manifest.

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
                f"{engine.name} does not reproduce the stored features as closely as the manifest requires: "
                f"{name} {cosine:.5f} (required: {min_cosine}). {_ADVICE}"
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


def _stored_images(arrays: Mapping[str, npt.NDArray[Any]]) -> Pixels:
    """Return the images of golden.npz as the network received them; earlier versions stored them as such.

    Raises:
        GoldenMismatch: they were to be enlarged to a size that is never recorded.
    """
    drawn: Pixels = arrays["images"]
    if "size" not in arrays:
        return drawn
    size = int(arrays["size"].flat[0])
    if not 0 < size <= _MAX_ENLARGEMENT * drawn.shape[1]:
        raise GoldenMismatch("The golden outputs cannot be read.")
    return _enlarge(drawn, size)


def _run(engine: Runner, images: Pixels) -> Outputs:
    """Run images in small batches: an engine keeps the memory that its largest batch took."""
    batches = [engine.run(images[start : start + _BATCH]) for start in range(0, len(images), _BATCH)]
    return {name: np.concatenate([outputs[name] for outputs in batches]) for name in batches[0]}


def _draw(size: int, count: int, seed: int) -> Pixels:
    """Draw images to enlarge to a size, uint8 [count, side, side, 3]."""
    random = np.random.default_rng(seed)
    return np.stack([_draw_image(max(_MIN_SIDE, size // 3), random) for _ in range(count)])


def _enlarge(images: Pixels, size: int) -> Pixels:
    """Return images of size x size px; Pillow computes them in integers, so they are equal on all machines."""
    enlarged = (Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR) for image in images)
    return np.stack([np.asarray(image) for image in enlarged])


def _draw_image(side: int, random: np.random.Generator) -> Pixels:
    planes = _noise(side, random)
    light, colours = planes[0], planes[1:]
    brightness, contrast = random.uniform(*_BRIGHTNESS), random.uniform(*_CONTRAST)
    image = brightness + contrast * (light + _COLOURFULNESS * colours)
    pixels: Pixels = np.clip(np.moveaxis(image, 0, -1), 0, 255).astype(np.uint8)
    return pixels


def _noise(side: int, random: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return four planes of noise [4, side, side] of mean 0 and deviation 1, whose spectrum falls as that of photos."""
    frequencies = np.fft.fftfreq(side)
    radius = np.hypot(frequencies[:, None], frequencies)
    radius[0, 0] = np.inf
    spectrum = np.fft.fft2(random.standard_normal((4, side, side))) / radius**_SPECTRAL_SLOPE
    planes = np.fft.ifft2(spectrum).real
    normalized: npt.NDArray[np.float64] = planes / planes.std(axis=(1, 2), keepdims=True)
    return normalized


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
